import io
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from tests.cli.replay.stack import a_result
from tests.support.stages.dead_letters import a_dead_record
from tests.support.stages.records import PARTITION, an_id
from topicserve.cli.replay.comparison import Comparison, compare
from topicserve.cli.replay.replayed import Replayed
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.replay.progress_note import OffsetRange

GROUP = "topicserve-replay-1"


@pytest.fixture
def replayed() -> Iterator[Replayed]:
    """Open a replay of ten records."""
    with closing(Replayed(GROUP, {PARTITION: OffsetRange(0, 10)})) as opened:
        yield opened


def followed(record: KafkaRecord) -> KafkaRecord:
    """Return a record with its body; those that lie at "gone" cannot be read."""
    if dict(record.headers).get("ce_dataref") == b"gone":
        raise InvalidRecordError("ce_dataref", "is gone")
    return record


def gone(result: KafkaRecord) -> KafkaRecord:
    """Return a result whose body cannot be read."""
    return replace(result, value=b"", headers=[*result.headers, ("ce_dataref", b"gone")])


def add(replayed: Replayed, *records: KafkaRecord) -> None:
    """Add results and dead letters to a replay."""
    replayed.add_results(records, followed)
    replayed.add_dead_letters(records)


def compared(replayed: Replayed, *published: KafkaRecord) -> tuple[Comparison, list[Any]]:
    """Return the counts, and the lines of the differences."""
    file = io.BytesIO()
    found = compare(replayed, published, file, followed)
    return found, [orjson.loads(line) for line in file.getvalue().splitlines()]


def test_what_differs_is_written_with_both_answers(replayed: Replayed) -> None:
    """Equal ones are counted, whichever version said so."""
    replayed.add_results([a_result(1, [0.5], 7, GROUP), a_result(2, [0.75], 7, GROUP)], followed)

    found, lines = compared(replayed, a_result(1, [0.5]), a_result(2, [0.5]))

    assert found == Comparison(equal=1, different=1, largest_difference=0.25)
    assert lines == [
        {
            "id": an_id(2),
            "input": "in:0:2",
            "published": {"servable": "digits", "version": 6, "prediction": [0.5]},
            "replayed": {"servable": "digits", "version": 7, "prediction": [0.75]},
            "difference": 0.25,
        }
    ]


def test_a_record_that_is_given_up_now_is_a_difference(replayed: Replayed) -> None:
    """With the reason; dead letters of records outside of the range are another replay's."""
    replayed.add_dead_letters([a_dead_record(offset) for offset in (3, 70)])

    found, lines = compared(replayed, a_result(3, [0.5]), a_result(70, [0.5]))

    assert found == Comparison(dead_letters=1)
    assert [(line["input"], line["dead_letter"]) for line in lines] == [("in:0:3", "invalid_input")]


def test_results_of_other_replays_are_left_out(replayed: Replayed) -> None:
    """Several may share an output topic."""
    replayed.add_results([a_result(1, [0.5], 8, "topicserve-replay-2")], followed)

    found, _ = compared(replayed, a_result(1, [0.25]))

    assert found == Comparison()


def test_the_first_published_result_of_a_record_counts(replayed: Replayed) -> None:
    """At least once, either topic may have it twice; one that was never published is counted."""
    again = [a_result(1, "six", 7, GROUP), a_result(1, "six", 7, GROUP), a_result(4, "x", 7, GROUP)]
    replayed.add_results(again, followed)

    found, lines = compared(replayed, a_result(1, "seven"), a_result(1, "six"))

    assert found == Comparison(different=1, not_published=1)
    assert [line["published"]["prediction"] for line in lines] == ["seven"]
    assert next(found.lines("results")) == "1 compared with what was published to results"


def test_other_records_of_the_topic_are_passed_over(replayed: Replayed) -> None:
    """Those of another program are counted, for they may be results that were destroyed."""
    replayed.add_results([a_result(1, "six", 7, GROUP)], followed)
    foreign = KafkaRecord("out", 0, 0, 0, None, b"?", [("ce_id", an_id(1).encode())])

    shadow = KafkaRecord("out", 0, 0, 0, None, b"", [("ce_type", b"topicserve.shadow")])
    found, _ = compared(replayed, foreign, shadow, a_result(1, "six"))

    assert found == Comparison(equal=1, other_records=1)
    assert list(found.lines("results"))[-1] == "1 record of results is no result"


@pytest.mark.parametrize("now", [a_result(1, "six", 7, GROUP), a_dead_record(1)])
def test_a_published_result_that_cannot_be_read_is_counted(
    replayed: Replayed, now: KafkaRecord
) -> None:
    """With the reason; all others are compared, and another result of the same record is."""
    add(replayed, now, *(a_result(number, "six", 7, GROUP) for number in (2, 3)))
    broken = replace(a_result(3, "six"), value=b"{")

    found, lines = compared(
        replayed, gone(a_result(1, "six")), broken, a_result(2, "six"), a_result(3, "six")
    )

    assert found == Comparison(equal=2, not_comparable=1)
    assert lines == [
        {
            "id": an_id(1),
            "input": "in:0:1",
            "not_comparable": "published, out-0 offset 1: ce_dataref: is gone",
        }
    ]
    assert "          1  not comparable" in list(found.lines("results"))


def test_a_replayed_result_that_cannot_be_read_is_counted(replayed: Replayed) -> None:
    """Whether a result was published or not; one that was answered twice has a second chance."""
    twice = [gone(a_result(3, "six", 7, GROUP)), a_result(3, "six", 7, GROUP)]
    broken = replace(a_result(4, "six", 7, GROUP), value=b"{")
    add(replayed, *(gone(a_result(n, "six", 7, GROUP)) for n in (1, 2)), *twice, broken)

    found, lines = compared(replayed, *(a_result(number, "six") for number in (1, 3, 4)))

    assert found == Comparison(equal=1, not_comparable=3)
    assert [line["input"] for line in lines] == ["in:0:1", "in:0:2", "in:0:4"]
    assert lines[0]["not_comparable"] == "replayed, out-0 offset 1: ce_dataref: is gone"
    assert lines[2]["not_comparable"].startswith("replayed: value: is not a result")
