import kafka
import pytest
from kafka import errors, structs

from topicserve.backends.errors import BackendUnavailableError
from topicserve.backends.kafka_python import admin
from topicserve.backends.kafka_python.admin import KafkaPythonAdmin
from topicserve.wire.kafka_record import TopicPartition

PARTITION = TopicPartition("in", 0)
FOUND = {"group": {kafka.TopicPartition("in", 0): structs.OffsetAndMetadata(7, "text", -1)}}


class Client:
    """Has no coordinator for so many questions."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def list_group_offsets(self, groups: object) -> object:  # noqa: ARG002
        if self.refusals:
            self.refusals -= 1
            raise errors.CoordinatorNotAvailableError
        return FOUND


def an_admin(refusals: int, monkeypatch: pytest.MonkeyPatch) -> KafkaPythonAdmin:
    """Return an admin on such a client."""
    monkeypatch.setattr(admin, "_COORDINATOR_PAUSE_SECONDS", 0.001)
    opened = KafkaPythonAdmin({})
    opened._client = Client(refusals)
    return opened


def test_a_group_is_asked_for_until_it_has_a_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new cluster makes its offsets topic with the first question."""
    found = an_admin(3, monkeypatch).committed("group", [PARTITION], 5.0)

    assert found == {PARTITION: 7}


def test_a_group_without_a_coordinator_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the time is over."""
    with pytest.raises(BackendUnavailableError, match="CoordinatorNotAvailable"):
        an_admin(1_000_000, monkeypatch).committed("group", [PARTITION], 0.05)
