import io
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest

from tests.cli.replay.stack import a_result
from tests.support.stages.dead_letters import a_dead_record
from tests.support.stages.records import PARTITION, an_id
from topicserve.cli.replay.comparison import Comparison, Replayed, compare
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.replay.progress_note import OffsetRange

GROUP = "topicserve-replay-1"


@pytest.fixture
def replayed() -> Iterator[Replayed]:
    """Open a replay of ten records."""
    with closing(Replayed(GROUP, {PARTITION: OffsetRange(0, 10)})) as opened:
        yield opened


def compared(replayed: Replayed, *published: KafkaRecord) -> tuple[Comparison, list[Any]]:
    """Return the counts, and the lines of the differences."""
    file = io.BytesIO()
    found = compare(replayed, published, file)
    return found, [orjson.loads(line) for line in file.getvalue().splitlines()]


def test_what_differs_is_written_with_both_answers(replayed: Replayed) -> None:
    """Equal ones are counted, whichever version said so."""
    replayed.add_results([a_result(1, [0.5], 7, GROUP), a_result(2, [0.75], 7, GROUP)])

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
    replayed.add_results([a_result(1, [0.5], 8, "topicserve-replay-2")])

    found, _ = compared(replayed, a_result(1, [0.25]))

    assert found == Comparison()


def test_the_first_published_result_of_a_record_counts(replayed: Replayed) -> None:
    """At least once, either topic may have it twice; one that was never published is counted."""
    again = [a_result(1, "six", 7, GROUP), a_result(1, "six", 7, GROUP), a_result(4, "x", 7, GROUP)]
    replayed.add_results(again)

    found, lines = compared(replayed, a_result(1, "seven"), a_result(1, "six"))

    assert found == Comparison(different=1, not_published=1)
    assert [line["published"]["prediction"] for line in lines] == ["seven"]
    assert next(found.lines("results")) == "1 compared with what was published to results"


def test_other_records_of_the_topic_are_passed_over(replayed: Replayed) -> None:
    """Such as those of a shadow, or of another program."""
    replayed.add_results([a_result(1, "six", 7, GROUP)])
    foreign = KafkaRecord("out", 0, 0, 0, None, b"?", [("ce_id", an_id(1).encode())])

    found, _ = compared(replayed, foreign, a_result(1, "six"))

    assert found == Comparison(equal=1)
