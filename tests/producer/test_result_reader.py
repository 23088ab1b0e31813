from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.stages.fakes import ReadConsumer
from tests.support.stages.records import a_kafka_record, an_id
from topicserve.producer.result_reader import DeadLetterReader, ResultReader
from topicserve.wire.bodies.json_body import JSON
from topicserve.wire.dead_letter import DeadLetter, Reason, encode_dead_letter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import ServableSpec
from topicserve.wire.input_record import InputRecord
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.wire.result_encoder import Origin, encode_results

P0 = TopicPartition("results", 0)


def a_result(number: int, servable: str, version: int, status: MetadataStatus) -> OutgoingRecord:
    """Return a result as a worker publishes it."""
    origin = Origin(servable, version, "serving_default", "worker-1")
    record = InputRecord(an_id(number), ServableSpec(), Form.INSTANCE, None, 1, JSON)
    outputs = {"y": np.array([number])}
    (sent,) = encode_results("results", origin, [record], [b"k"], outputs, [Metadata(status)])
    return sent


def a_consumer(sent: Sequence[OutgoingRecord]) -> ReadConsumer:
    """Return a consumer of a topic that holds these records."""
    polled = [
        KafkaRecord(*P0, offset, 0, record.key, record.value, record.headers)
        for offset, record in enumerate(sent)
    ]
    return ReadConsumer(MemoryLog(polled), P0)


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, [0, 1, 2]),
        ({"servable": "digits"}, [0, 1]),
        ({"version": 2}, [1, 2]),
        ({"metadata_status": MetadataStatus.MISSING}, [1]),
        ({"servable": "digits", "version": 2}, [1]),
    ],
)
def test_filters_leave_out_other_results(filters: dict[str, Any], numbers: list[int]) -> None:
    """Servable, version and what became of the metadata are read from headers."""
    sent = [
        a_result(0, "digits", 1, MetadataStatus.FOUND),
        a_result(1, "digits", 2, MetadataStatus.MISSING),
        a_result(2, "faces", 2, MetadataStatus.FOUND),
    ]
    reader = ResultReader(a_consumer(sent), "results", **filters)

    read = list(reader.read(limit=len(numbers)))

    assert [result.value for result in read] == numbers
    assert [result.record_id for result in read] == [an_id(number) for number in numbers]


def test_results_left_out_are_not_decoded() -> None:
    """A filter costs no more than the headers: a broken body behind it is never seen."""
    broken = replace(a_result(0, "digits", 1, MetadataStatus.FOUND), value=b"{")
    reader = ResultReader(
        a_consumer([broken, a_result(1, "digits", 2, MetadataStatus.FOUND)]), "results", version=2
    )

    (read,) = reader.read(limit=1)

    assert read.value == 1


def test_what_is_no_result_is_refused() -> None:
    """Another's record in the topic is told, not taken for a result."""
    reader = ResultReader(a_consumer([OutgoingRecord("results", None, b"hello")]), "results")

    with pytest.raises(InvalidRecordError, match="ce_type"):
        next(reader.read())


def test_dead_letters_are_read_as_they_were_given_up() -> None:
    """The record comes back whole, with the reason beside it."""
    record = a_kafka_record(7)
    letter = DeadLetter(record, Reason.INVALID_INPUT, "builtins.ValueError", "too many rows")
    reader = DeadLetterReader(a_consumer([encode_dead_letter(letter, "results")]), "results")

    (read,) = reader.read(limit=1)

    assert read == letter
