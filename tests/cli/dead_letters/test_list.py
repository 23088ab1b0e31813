import argparse

import orjson

from tests.support.stages.dead_letters import a_dead_record
from tests.support.stages.records import an_id
from topicserve.cli.dead_letters.filters import Filter, add_filter_arguments
from topicserve.cli.dead_letters.list import Listing
from topicserve.cli.results.unread import InvalidRecords
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import KafkaRecord


def listed(*records: KafkaRecord, limit: int = 20, flags: tuple[str, ...] = ()) -> Listing:
    """Return what the command makes of these records."""
    parser = argparse.ArgumentParser()
    add_filter_arguments(parser)
    wanted = Filter(parser.parse_args(flags))
    return Listing.of(records, wanted, limit, InvalidRecords())


def test_counts_by_reason_come_first() -> None:
    """The most frequent first; then a line for each dead letter."""
    listing = listed(
        a_dead_record(0, Reason.TIMED_OUT),
        a_dead_record(1),
        a_dead_record(2, message="a\nb\x1b[2J"),
    )

    lines = list(listing.text_lines())

    assert lines[:4] == [
        "3 of 3 records match",
        "          2  invalid_input",
        "          1  timed_out",
        "",
    ]
    assert lines[4].split() == ["place", "time", "reason", "servable", "id", "message"]
    assert lines[5].split()[:5] == [
        "0:0",
        "2025-11-28T03:20:00+00:00",
        "timed_out",
        "-",
        an_id(0),
    ]
    assert lines[7].endswith("a\\nb\\x1b[2J")


def test_all_that_match_are_counted_and_the_first_are_listed() -> None:
    """Memory is bounded by the limit, whatever the topic holds."""
    records = [a_dead_record(offset) for offset in range(30)]

    listing = listed(*records, limit=2, flags=("--offset=0:10-19",))

    assert (listing.read, listing.matched) == (30, 10)
    assert [one["offset"] for one in listing.listed] == [10, 11]


def test_scripts_get_lines_of_json() -> None:
    """First the counts, with what could not be read."""
    stranger = KafkaRecord("dead", 0, 1, 0, None, b"", [])

    counts, letter = listed(
        a_dead_record(0, headers=[("ce_servable", b"digits")]), stranger
    ).json_lines()

    assert orjson.loads(counts) == {
        "read": 2,
        "invalid": 1,
        "matched": 1,
        "reasons": {"invalid_input": 1},
        "servables": {"digits": 1},
    }
    assert orjson.loads(letter) == {
        "partition": 0,
        "offset": 0,
        "time": "2025-11-28T03:20:00+00:00",
        "reason": "invalid_input",
        "servable": "digits",
        "id": an_id(0),
        "message": "x: is too long",
        "original": {
            "topic": "in",
            "partition": 0,
            "offset": 0,
            "time": "2023-11-14T22:13:20+00:00",
        },
    }
