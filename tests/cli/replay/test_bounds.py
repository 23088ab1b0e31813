from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from topicserve.backends.broker import LogOffsets
from topicserve.cli.errors import UsageError
from topicserve.cli.replay.bounds import RangeFinder, read_bound
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.replay.progress_note import OffsetRange

FIRST, SECOND = TopicPartition("in", 0), TopicPartition("in", 1)
LOG = {FIRST: LogOffsets(10, 100), SECOND: LogOffsets(0, 50)}


class Times:
    """An admin that knows one time: what is at it or later."""

    def __init__(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        self.offsets = offsets
        self.asked_ms: list[int] = []

    def offsets_at_time(
        self, partitions: Sequence[TopicPartition], timestamp_ms: int, _: float
    ) -> dict[TopicPartition, int | None]:
        self.asked_ms.append(timestamp_ms)
        return {partition: self.offsets[partition] for partition in partitions}


def a_finder(start: str, end: str = "latest", log: Any = None) -> RangeFinder:
    """Return the finder of what was typed."""
    bounds = read_bound("--from", "earliest", start), read_bound("--to", "latest", end)
    return RangeFinder(*bounds, LOG if log is None else log)


def find(start: str, end: str = "latest", admin: Any = None, log: Any = None) -> dict[int, Any]:
    """Return the ranges by partition."""
    finder = a_finder(start, end, log)
    asked: Any = admin or Times({})
    found = finder.find(asked, finder.partitions())
    finder.check_any(found)
    return {partition.partition: (own.start, own.end) for partition, own in found.items()}


def test_the_whole_topic_is_from_its_first_record_to_its_last() -> None:
    """As the log is now."""
    assert find("earliest") == {0: (10, 100), 1: (0, 50)}


def test_offsets_name_the_partitions_that_are_read() -> None:
    """Others are left out; the end is not part of the range."""
    assert find("1:7", "1:9") == {1: (7, 9)}
    assert find("0:10,1:0", "latest") == {0: (10, 100), 1: (0, 50)}
    assert find("earliest", "1:9") == {1: (0, 9)}


def test_a_time_is_the_first_record_at_or_after_it() -> None:
    """Behind the last record it is the end of the partition."""
    admin = Times({FIRST: 40, SECOND: None})

    assert find("2026-11-28T06:00:00Z", "latest", admin) == {0: (40, 100), 1: (50, 50)}
    assert admin.asked_ms == [datetime(2026, 11, 28, 6, tzinfo=UTC).timestamp() * 1000]
    assert find("earliest", "2026-11-28T06:00:00Z", admin) == {0: (10, 40), 1: (0, 50)}


def test_a_time_before_the_first_record_that_is_left_is_told() -> None:
    """Retention may have deleted records of the range."""
    finder = a_finder("7d")

    finder.find(Times({FIRST: 10, SECOND: 0}), finder.partitions())  # type: ignore[arg-type]

    (warning,) = finder.warnings
    assert "partition 0 begins at offset 10" in warning


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        ("0:9", "latest", "--from: partition 0: records before offset 10 were deleted"),
        ("earliest", "0:101", "--to: partition 0: ends at offset 100; found 101"),
        ("0:50", "0:40", "--to: partition 0: 40 is before --from"),
        ("0:50", "1:40", "must name the same partitions"),
        ("7:0", "latest", "the topic has no partition 7"),
        ("0:40", "0:40", "there is no record in this range"),
    ],
)
def test_a_range_that_cannot_be_read_is_refused(start: str, end: str, problem: str) -> None:
    """With what the topic has."""
    with pytest.raises(UsageError, match=problem):
        find(start, end)


def test_a_range_whose_records_were_all_deleted_is_refused() -> None:
    """It says that retention did it."""
    admin = Times({FIRST: 10, SECOND: 0})

    with pytest.raises(UsageError, match=r"offsets 0:10 to 99.* deleted by retention"):
        find("earliest", "30d", admin)


@pytest.mark.parametrize("typed", ["", "latest", "17", "0:17,", "0:-1", "yesterday", "0:1,0:2"])
def test_what_is_no_bound_is_refused(typed: str) -> None:
    """The message says what a bound looks like."""
    with pytest.raises(UsageError, match="--from: "):
        read_bound("--from", "earliest", typed)


def test_an_empty_partition_has_an_empty_range() -> None:
    """It is part of the replay all the same, so that its end is committed."""
    log = {FIRST: LogOffsets(0, 5), SECOND: LogOffsets(0, 0)}
    finder = a_finder("earliest", log=log)

    found = finder.find(Times({}), finder.partitions())  # type: ignore[arg-type]

    assert found == {FIRST: OffsetRange(0, 5), SECOND: OffsetRange(0, 0)}
