"""What librdkafka tells of errors, by callback or in place of a record, until `poll` can say it."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError

from topicserve.backends.confluent.errors import translate
from topicserve.backends.confluent.reading.partitions import ours_of
from topicserve.backends.errors import BackendUnavailableError
from topicserve.wire.kafka_record import TopicPartition

log = logging.getLogger(__name__)


class ClientErrors:
    """The last problem that the client retries by itself, and an error that `poll` is to raise.

    librdkafka calls back within `poll`, `consume` and `close`, on the thread that called those.
    """

    def __init__(self) -> None:
        self.problem = ""
        """As `ConsumerStats.problem`: empty once records have come since."""
        self._error: BaseException | None = None

    def on_error(self, error: KafkaError) -> None:
        """Take an error of the whole client: what passes is a problem, the rest is raised."""
        found = translate(error)
        if isinstance(found, BackendUnavailableError):
            self.problem = str(found)
            log.debug("%s", self.problem)
        else:
            self._error = found

    def note(self, problem: str) -> None:
        """Take a problem that came in place of a record, and passes by itself."""
        self.problem = problem
        log.warning("%s", problem)

    def raise_error(self) -> None:
        """Raise what was kept, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def keeping(
        self, tell: Callable[[list[TopicPartition]], None]
    ) -> Callable[[Any, Sequence[Any]], None]:
        """Return a rebalance callback for the client; what goes wrong in it is raised by `poll`.

        Raised within the callback it would leave the rebalance unfinished, and `close` waiting.
        """

        def call(_: Any, partitions: Sequence[Any]) -> None:
            try:
                tell([*map(ours_of, partitions)])
            except BaseException as error:
                self._error = error

        return call
