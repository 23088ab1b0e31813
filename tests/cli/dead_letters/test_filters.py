import argparse

import pytest

from tests.support.stages.dead_letters import GIVEN_UP_MS, a_dead_record, an_entry
from tests.support.stages.records import an_id
from topicserve.backends.broker import LogOffsets
from topicserve.cli.dead_letters.entry import DeadLetterEntry, decode_entry
from topicserve.cli.dead_letters.filters import Filter, add_filter_arguments, check_filters
from topicserve.cli.errors import UsageError
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import TopicPartition


def wanted(*flags: str) -> Filter:
    """Return the filter that flags stand for."""
    parser = argparse.ArgumentParser()
    add_filter_arguments(parser)
    return Filter(parser.parse_args(flags))


def offsets(*flags: str) -> list[int]:
    """Return the offsets of those of five dead letters that the flags ask for."""
    return [e.record.offset for e in letters() if wanted(*flags).wants(e)]


def letters() -> list[DeadLetterEntry]:
    """Return five that differ in reason, servable and time."""
    digits, other = [("ce_servable", b"digits")], [("ce_servable", b"other")]
    return [
        an_entry(0, headers=digits),
        an_entry(1, Reason.TIMED_OUT, headers=digits, timestamp_ms=GIVEN_UP_MS + 1000),
        an_entry(2, headers=other, timestamp_ms=GIVEN_UP_MS + 2000),
        an_entry(3, Reason.PREDICT_FAILED, headers=other, timestamp_ms=GIVEN_UP_MS + 3000),
        an_entry(4, timestamp_ms=GIVEN_UP_MS + 4000),
    ]


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ([], [0, 1, 2, 3, 4]),
        (["--reason=timed_out"], [1]),
        (["--reason=timed_out", "--reason=predict_failed"], [1, 3]),
        (["--servable=digits"], [0, 1]),
        (["--servable=digits", "--reason=invalid_input"], [0]),
        (["--since=2025-11-28T03:20:02Z"], [2, 3, 4]),
        (["--until=2025-11-28T03:20:02Z"], [0, 1]),
        (["--since=2025-11-28T04:20:01+01:00", "--until=2025-11-28T03:20:03Z"], [1, 2]),
        (["--offset=0:2"], [2]),
        (["--offset=0:1-2", "--offset=0:4"], [1, 2, 4]),
        (["--offset=1:2"], []),
        ([f"--id={an_id(3).upper()}"], [3]),
        (["--since=1s"], []),
    ],
)
def test_each_flag_leaves_out_what_it_does_not_name(flags: list[str], found: list[int]) -> None:
    """Values of one flag are alternatives; every flag must fit."""
    assert offsets(*flags) == found


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("--since=yesterday", "--since: must be RFC 3339"),
        ("--until=2026-11-28", "--until: must be RFC 3339"),
        ("--since=999999d", "--since: must be RFC 3339"),
        ("--offset=7", "--offset: must be PARTITION:OFFSET"),
        ("--id=a b", "--id: must be a UUID"),
    ],
)
def test_a_flag_that_cannot_be_read_is_named(flag: str, problem: str) -> None:
    """In one line, with what it must be."""
    with pytest.raises(UsageError, match=problem):
        wanted(flag)


def test_a_record_without_a_valid_id_has_none() -> None:
    """It can still be found by its place."""
    entry = decode_entry(a_dead_record(3, headers=[("ce_id", b"\xff")]))

    assert entry.record_id is None
    assert not entry.needs_metadata
    assert wanted("--offset=0:3").wants(entry)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--offset=9:1"], "--offset: dead has no partition 9, only 0, 1"),
        (["--offset=0:20"], "--offset: partition 0 of dead has offsets 5 to 19, found 20"),
        (["--offset=0:1-4"], "--offset: partition 0 of dead has offsets 5 to 19, found 1-4"),
        (["--offset=1:0"], "--offset: partition 1 of dead has no records, found 0"),
        (["--offset=0:9-5"], "--offset: 0:9-5 is empty"),
        (["--since=1h", "--until=2h"], "--since, --until: no time is at or after"),
    ],
)
def test_a_filter_that_nothing_can_fit_is_refused(flags: list[str], problem: str) -> None:
    """It would count no dead letter, as if there were none."""
    with pytest.raises(UsageError, match=problem):
        checked(*flags)


def test_a_filter_that_something_may_fit_is_taken() -> None:
    """Also where only a part of its range is there."""
    checked("--offset=0:0-5", "--offset=0:19", "--since=2h", "--until=1h")


def checked(*flags: str) -> None:
    """Look at flags for a topic of two partitions, one of which is empty."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--topic", default="dead")
    add_filter_arguments(parser)
    log = {
        TopicPartition("dead", 0): LogOffsets(5, 20),
        TopicPartition("dead", 1): LogOffsets(0, 0),
    }
    check_filters(parser.parse_args(flags), log)
