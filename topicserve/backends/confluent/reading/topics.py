"""Which of the subscribed topics have ever been there.

A topic that is gone is waited for; one that never was ends the consumer. But brokers hear of a new
topic one after the other, and librdkafka asks any of them and tells once that there is none.
"""

from collections.abc import Callable
from typing import Any

from topicserve.backends.confluent.errors import translate, translated
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    UnknownTopicError,
)

# How far brokers may be apart in what they know: some seconds, while a cluster starts.
LAG_SECONDS = 5.0
_ASK_SECONDS = 1.0


class FoundTopics:
    """The topics that were seen, and those that one broker did not know."""

    def __init__(self, client: Any, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._found: set[str] = set()
        self.missing: dict[str, float] = {}
        """When each topic is looked for that was not there."""

    def __contains__(self, topic: str) -> bool:
        return topic in self._found

    def note(self, topic: str) -> None:
        """Note that a topic is there."""
        self._found.add(topic)
        self.missing.pop(topic, None)

    def note_missing(self, topic: str) -> None:
        """Note that a broker does not know a topic that was never seen."""
        self.missing.setdefault(topic, self._clock() + LAG_SECONDS)

    def check(self) -> None:
        """Raise UnknownTopicError for a topic that is still not there when its time is over."""
        now = self._clock()
        for topic, deadline in list(self.missing.items()):
            if now < deadline:
                continue
            problem = self._ask(topic)
            if isinstance(problem, BackendUnavailableError):
                self.missing[topic] = now + LAG_SECONDS
            elif problem is not None:
                raise problem
            else:
                self.note(topic)

    def _ask(self, topic: str) -> BackendError | None:
        """Return why a topic cannot be read, None where it is there."""
        try:
            with translated():
                found = self._client.list_topics(topic, _ASK_SECONDS).topics[topic]
        except BackendError as error:
            return error
        if found.error is None:
            return None
        problem = translate(found.error)
        if not isinstance(problem, UnknownTopicError):
            return problem
        return UnknownTopicError(
            f'the topic "{topic}" does not exist: create it; a consumer has none created '
            "(allow.auto.create.topics)"
        )
