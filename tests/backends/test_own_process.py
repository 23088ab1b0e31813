import inspect
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.stages.fakes import HeldProducer, MemoryMetadataStore
from topicserve.backends.confluent.admin import ConfluentAdmin
from topicserve.backends.confluent.producer import ConfluentProducer
from topicserve.backends.confluent.reading.consumer import ConfluentConsumer
from topicserve.backends.errors import ForkedError
from topicserve.backends.kafka_python.admin import KafkaPythonAdmin
from topicserve.backends.kafka_python.producer import KafkaPythonProducer
from topicserve.backends.kafka_python.reading.consumer import KafkaPythonConsumer
from topicserve.producer.record import Record
from topicserve.producer.record_producer import RecordProducer
from topicserve.producer.result_reader import DeadLetterReader, ResultReader

GUARDED: list[type[Any]] = [
    ConfluentAdmin,
    ConfluentConsumer,
    ConfluentProducer,
    KafkaPythonAdmin,
    KafkaPythonConsumer,
    KafkaPythonProducer,
    RecordProducer,
    ResultReader,
    DeadLetterReader,
]


def public_methods(kind: type[Any]) -> dict[str, Callable[..., Any]]:
    """Return what a user may call on an object, `close` apart."""
    return {
        name: method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name != "close"
    }


@pytest.mark.parametrize("kind", GUARDED, ids=lambda kind: kind.__name__)
def test_no_call_works_in_another_process(kind: type[Any]) -> None:
    """Every one says what to do; closing leaves the parent's connections alone."""
    made: Any = object.__new__(kind)
    made._process_id = os.getppid()

    assert public_methods(kind)
    for method in public_methods(kind).values():
        with pytest.raises(ForkedError, match="make one in each process"):
            method(made)
    assert made.close() is None


def test_a_child_is_told_and_the_parent_goes_on() -> None:
    """Neither publishing, flushing, nor waiting for a record of the parent's ever hangs."""
    producer = HeldProducer(MemoryLog())
    records = RecordProducer(producer, MemoryMetadataStore(), "in", servable="m")
    future = records.publish(Record(instance=1))
    assert producer.sent.wait(10)
    calls: list[Callable[[], object]] = [
        lambda: records.publish(Record(instance=1)),
        records.flush,
        future.result,
        future.exception,
    ]

    def in_child() -> int:
        records.close()
        return sum(_is_refused(call) for call in calls)

    child = os.fork()
    if not child:
        try:
            os._exit(in_child())
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    producer.release()

    assert os.waitstatus_to_exitcode(status) == len(calls)
    assert future.result(10).offset == 0
    records.close()


def _is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except ForkedError:
        return True
    return False
