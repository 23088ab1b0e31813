"""Slips in what a program gives to the library are named where they are made."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.stages.fakes import ReadConsumer
from topicserve.backends.errors import BackendConfigError
from topicserve.producer.arguments import server_list
from topicserve.producer.record_producer import RecordProducer
from topicserve.producer.result_reader import DeadLetterReader, ResultReader
from topicserve.wire.kafka_record import TopicPartition

KAFKA, REDIS = "127.0.0.1:1", "redis://127.0.0.1:1"


def producer(**changes: Any) -> RecordProducer:
    """Connect a producer as a program does; nothing is connected to yet."""
    given: dict[str, Any] = {"bootstrap_servers": KAFKA, "redis_url": REDIS, "topic": "t"}
    return RecordProducer.connect(**(given | changes))


def reader(**changes: Any) -> ResultReader:
    """Connect a reader as a program does."""
    given: dict[str, Any] = {"bootstrap_servers": KAFKA, "topic": "t"}
    return ResultReader.connect(**(given | changes))


def letters(**changes: Any) -> DeadLetterReader:
    """Connect a reader of dead letters."""
    given: dict[str, Any] = {"bootstrap_servers": KAFKA, "topic": "t"}
    return DeadLetterReader.connect(**(given | changes))


@pytest.mark.parametrize(
    ("connect", "name", "value"),
    [
        (producer, "bootstrap_servers", 9092),
        (producer, "bootstrap_servers", []),
        (producer, "redis_url", 6379),
        (producer, "topic", None),
        (producer, "topic", ["t"]),
        (producer, "topic", "a b"),
        (producer, "topic", ""),
        (producer, "servable", 3),
        (producer, "kafka_settings", "a=b"),
        (producer, "timeout_seconds", "5"),
        (producer, "timeout_seconds", None),
        (producer, "timeout_seconds", -5),
        (producer, "timeout_seconds", float("nan")),
        (producer, "ttl_seconds", "5"),
        (producer, "ttl_seconds", True),
        (producer, "key_prefix", None),
        (reader, "topic", ["t"]),
        (reader, "group_id", 5),
        (reader, "metadata_status", "nope"),
        (reader, "kafka_settings", ["a"]),
        (letters, "topic", None),
        (reader, "servable", ["t"]),
        (reader, "version", "1"),
        (reader, "metadata_status", 1),
        (letters, "servable", 3),
    ],
)
def test_a_wrong_argument_is_named(connect: Callable[..., Any], name: str, value: Any) -> None:
    """With what it must be, before anything is connected to."""
    with pytest.raises(BackendConfigError, match=rf"{name} must be .*, found "):
        connect(**{name: value})


def test_a_filter_of_the_wrong_type_is_a_type_error() -> None:
    """It would leave out every result without a word."""
    with pytest.raises(TypeError, match=r"servable must be text, found list \['t'\]"):
        reader(servable=["t"])


@pytest.mark.parametrize(
    "wrong",
    [{"limit": "3"}, {"limit": -1}, {"limit": True}, {"timeout_seconds": "1"}],
    ids=str,
)
def test_a_wrong_limit_of_reading_is_named_at_once(wrong: dict[str, Any]) -> None:
    """Not first when the results are asked for."""
    (name,) = wrong
    consumer = ReadConsumer(MemoryLog([]), TopicPartition("results", 0))

    with pytest.raises(BackendConfigError, match=f"{name} must be "):
        ResultReader(consumer, "results").read(**wrong)


def test_servers_may_be_a_list() -> None:
    """As kafka-python takes them."""
    assert server_list(["a:1", "b:2"]) == server_list("a:1,b:2") == "a:1,b:2"


def test_a_status_may_be_its_name() -> None:
    """As the command has it."""
    reader(metadata_status="found").close()
