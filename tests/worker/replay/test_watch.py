import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.stages.records import PARTITION
from topicserve.backends.broker import OffsetAndMetadata
from topicserve.backends.errors import BackendUnavailableError
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.replay.progress import ReplayProgress, read_progress
from topicserve.worker.replay.progress_note import (
    ForeignGroupError,
    OffsetRange,
    ProgressNote,
    Tally,
)
from topicserve.worker.replay.watch import ReplayWatch

OTHER = TopicPartition("in", 1)
RANGES = {PARTITION: OffsetRange(2, 9), OTHER: OffsetRange(0, 0)}


class Group:
    """An admin that knows the offsets of one group."""

    def __init__(self, **offsets: int) -> None:
        """Name an offset of partition 0 `first`, and of partition 1 `second`."""
        self.offsets: dict[TopicPartition, int] = {}
        self.error: BackendUnavailableError | None = None
        for partition, name in ((PARTITION, "first"), (OTHER, "second")):
            if name in offsets:
                note = ProgressNote("job", RANGES[partition], Tally(1))
                self.offsets[partition] = note.beside(offsets[name])

    def committed(
        self, _: str, partitions: Sequence[TopicPartition], __: float
    ) -> dict[TopicPartition, int | None]:
        if self.error is not None:
            raise self.error
        return {partition: self.offsets.get(partition) for partition in partitions}


def progress_of(group: Any) -> ReplayProgress:
    """Return how far the group is."""
    return read_progress(group, "group", "job", RANGES, 1.0)


def watched(group: Any, *, must_end: bool = False) -> tuple[bool, list[ReplayProgress]]:
    """Look once; return whether the replica is to stop, and what was shown."""
    stop, shown = threading.Event(), list[ReplayProgress]()
    watch = ReplayWatch(group, "group", "job", RANGES, stop, shown.append, lambda: must_end)
    watch.step()
    return stop.is_set(), shown


def test_a_replay_is_done_when_the_group_has_committed_every_range() -> None:
    """An empty range too: its owner commits it, so all replicas know of it."""
    assert watched(Group(first=9, second=0))[0]
    assert not watched(Group(first=8, second=0))[0]
    assert not watched(Group(first=9))[0]


def test_progress_is_that_of_all_replicas() -> None:
    """In offsets of the ranges."""
    _, (found,) = watched(Group(first=6))

    assert (found.done_offsets, found.total_offsets) == (4, 7)
    assert found.left == {PARTITION: 3, OTHER: 0}
    assert found.tally.read == 1


def test_a_range_that_was_begun_counts_as_it_was_then() -> None:
    """Whatever this replica was told."""
    found = read_progress(
        Group(first=9),  # type: ignore[arg-type]
        "group",
        "job",
        {PARTITION: OffsetRange(0, 1000)},
        1.0,
    )

    assert found.is_complete
    assert found.ranges == {PARTITION: RANGES[PARTITION]}


def test_a_replica_that_cannot_go_on_ends() -> None:
    """Such as one whose breaker is open."""
    assert watched(Group(), must_end=True) == (True, [])


def test_a_broker_that_is_away_is_asked_again() -> None:
    """The replica goes on meanwhile."""
    group = Group(first=9, second=0)
    group.error = BackendUnavailableError("away")

    assert watched(group) == (False, [])


@pytest.mark.parametrize(
    "offset",
    [
        OffsetAndMetadata(7, ""),
        ProgressNote("another", OffsetRange(0, 9), Tally()).beside(7),
    ],
)
def test_another_programs_group_is_refused(offset: OffsetAndMetadata) -> None:
    """And so is another replay's."""
    group = Group()
    group.offsets[PARTITION] = offset

    with pytest.raises(ForeignGroupError):
        progress_of(group)
