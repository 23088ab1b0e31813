"""What a worker looks at before it loads anything: whether broker, topics and store are there.

A worker that is running waits for what is away, for as long as it takes. One that is being started
fails instead, with a line that names the key: the address is as likely to be wrong. A server that
answers that it cannot serve now (it loads its data, its disk is full) is waited for here too.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from topicserve.backends.broker import Admin
from topicserve.backends.errors import (
    AuthenticationError,
    BackendBusyError,
    BackendError,
    BackendUnavailableError,
)
from topicserve.backoff import Backoff
from topicserve.errors import TopicserveError
from topicserve.redact import redact_url
from topicserve.worker.config.schema import ConfigError, WorkerConfig
from topicserve.worker.telemetry.logging import log_event

T = TypeVar("T")
BACKOFF = Backoff(0.05, 1.0, jitter=0.2)
# For one question; the loop around it asks again.
ANSWER_SECONDS = 5.0
MAX_MESSAGE_BYTES = "max.message.bytes"
# What a dead letter has beyond its record: at most some 5 KiB.
DEAD_LETTER_ROOM_BYTES = 16 * 1024


class StoppedError(TopicserveError):
    """The person who started the worker wants it to end before it could begin."""


class Preflight:
    """Asks the broker and the store, for at most `startup_timeout_seconds` in all."""

    def __init__(
        self,
        config: WorkerConfig,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        *,
        creates_inputs: bool = True,
    ) -> None:
        """Create missing input topics unless told otherwise: a replay's would have no record."""
        self._creates_inputs = creates_inputs
        self._config = config
        self._stop = stop
        self._clock = clock
        self._deadline = clock() + config.startup_timeout_seconds

    def check_broker(self, admin: Admin) -> None:
        """Raise ConfigError where no broker answers or a topic is not there; create what may be."""
        kafka, topics = self._config.kafka, self._config.topics
        try:
            for index, topic in enumerate(topics.input):
                self._need_topic(
                    admin, f"topics.input[{index}]", topic, may_create=self._creates_inputs
                )
            self._need_topic(admin, "topics.output", topics.output)
            if topics.shadow:
                self._need_topic(admin, "topics.shadow", topics.shadow)
            self._need_dead_letter_topic(admin)
        except BackendUnavailableError as error:
            raise ConfigError(
                "kafka.bootstrap_servers",
                f"no broker answers at {kafka.bootstrap_servers} "
                f"(tried for {self._config.startup_timeout_seconds:g} s: {error}); "
                "start it, or correct the address",
            ) from error
        except AuthenticationError as error:
            raise ConfigError(
                "kafka.settings", f"the broker refuses the connection: {error}"
            ) from error

    def check_store(self, ping: Callable[[], None]) -> None:
        """Raise ConfigError where the metadata store does not answer."""
        where = redact_url(self._config.metadata.redis_url)
        try:
            self._ask(lambda _: ping())
        except BackendUnavailableError as error:
            raise ConfigError(
                "metadata.redis_url",
                f"no Redis answers at {where} "
                f"(tried for {self._config.startup_timeout_seconds:g} s: {error}); "
                "start it, or correct the address",
            ) from error
        except AuthenticationError as error:
            raise ConfigError("metadata.redis_url", f"{where}: {error}") from error

    def _need_topic(self, admin: Admin, key: str, topic: str, *, may_create: bool = True) -> None:
        if self._partitions(admin, topic) is not None:
            return
        if not may_create:
            raise ConfigError(
                key,
                f"there is no topic {topic!r} at {self._config.kafka.bootstrap_servers}; correct "
                "the name (topics to read from are not created)",
            )
        partitions = self._config.topics.create_partitions
        if not partitions:
            raise ConfigError(
                key,
                f"there is no topic {topic!r} at {self._config.kafka.bootstrap_servers}; create "
                "it, or have topics created that are missing with --create-topics PARTITIONS",
            )
        self._create(admin, topic, partitions)

    def _need_dead_letter_topic(self, admin: Admin) -> None:
        """Create the dead-letter topic where it is missing, as wide as the input.

        The first bad record would otherwise hold up its partition for ever.
        """
        topic = self._config.dead_letter_topic
        if self._partitions(admin, topic) is None:
            as_input = self._partitions(admin, self._config.topics.input[0])
            partitions = self._config.topics.create_partitions or as_input or 1
            self._create(admin, topic, partitions, self._dead_letter_limit(admin))

    def _dead_letter_limit(self, admin: Admin) -> dict[str, str]:
        """Return the limit on records of the input topics, with room for a dead letter's headers.

        Nothing where the broker does not tell: dead letters are cut to whatever fits.
        """
        limits = []
        for topic in self._config.topics.input:
            try:
                found = self._ask(partial(admin.topic_config, topic, MAX_MESSAGE_BYTES))
            except BackendError as error:
                if isinstance(error, BackendUnavailableError):
                    raise
                log_event("topic_limit_unknown", topic=topic, problem=str(error))
                return {}
            if found is not None:
                limits.append(int(found))
        return {MAX_MESSAGE_BYTES: str(max(limits) + DEAD_LETTER_ROOM_BYTES)} if limits else {}

    def _partitions(self, admin: Admin, topic: str) -> int | None:
        return self._ask(lambda seconds: admin.partitions(topic, seconds))

    def _create(
        self, admin: Admin, topic: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> None:
        if self._ask(lambda seconds: admin.create_topic(topic, partitions, seconds, config)):
            log_event("topic_created", topic=topic, partitions=partitions)

    def _ask(self, question: Callable[[float], T]) -> T:
        """Return the answer, asking again while no one answers and there is time."""
        for pause in BACKOFF.pauses():
            left = self._deadline - self._clock()
            try:
                return question(max(min(left, ANSWER_SECONDS), 0.1))
            except BackendBusyError as error:
                # The address is right: it answers. The log's own limit keeps this to a few lines.
                log_event("start_waits", logging.WARNING, problem=str(error))
            except BackendUnavailableError:
                if self._clock() + pause >= self._deadline:
                    raise
            if self._stop.wait(pause):
                raise StoppedError
        raise AssertionError("pauses never end")
