"""The examples in the library's docstrings run as they stand."""

import ast
import asyncio
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import topicserve
from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.fakes import MemoryMetadataStore, ReadConsumer
from tests.support.traffic.answers import Traffic, a_result
from topicserve.producer.asynchronous.readers import AsyncTopicReader
from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.topic_reader import TopicReader
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.wire.result import decode_result

EXAMPLE = re.compile(r"(?:^|\n\n)((?: {4}.*\n?)+)")
P0 = TopicPartition("results", 0)


def examples() -> Iterator[tuple[str, str]]:
    """Yield where each indented block is, and its text."""
    for name in topicserve.__all__:
        value = getattr(topicserve, name)
        parts = vars(value).items() if inspect.isclass(value) else ()
        for where, part in [(name, value), *((f"{name}.{n}", p) for n, p in parts)]:
            documented = inspect.isclass(part) or callable(getattr(part, "__func__", part))
            for block in EXAMPLE.findall(inspect.getdoc(part) or "" if documented else ""):
                yield where, textwrap.dedent(block)


EXAMPLES = list(examples())


def names(where: str) -> dict[str, Any]:
    """Return what the examples of a class call by name; nothing is connected yet."""
    made: dict[str, Any] = {
        "Record": topicserve.Record,
        "array": np.zeros((3, 2)),
        "images": np.zeros((3, 4, 4), np.uint8),
        "frame": pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0], "user": [7, 8]}),
    }
    stores = (MemoryProducer(MemoryLog()), MemoryMetadataStore(), "digits")
    if where.startswith(("PredictClient", "AsyncPredictClient")):
        made["client"] = getattr(topicserve, where.partition(".")[0])(Traffic().core())
    elif where.startswith(("RecordProducer", "AsyncRecordProducer")):
        made["producer"] = getattr(topicserve, where.partition(".")[0])(*stores)
    else:
        sent = RecordEncoder("in", "/test", "digits").encode(topicserve.Record(instance=1)).outgoing
        result = a_result(sent)
        polled = KafkaRecord(*P0, 0, 0, result.key, result.value, result.headers)
        consumer = ReadConsumer(MemoryLog([polled]), P0)
        consumer.lag_records = {P0: 0}
        reader = TopicReader(consumer, "results", decode_result)
        made["reader"] = AsyncTopicReader(reader) if where.startswith("Async") else reader
    return made


@pytest.mark.parametrize(("where", "text"), EXAMPLES, ids=[where for where, _ in EXAMPLES])
def test_an_example_runs(where: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the names that its method's reader would have."""

    async def run() -> None:
        namespace = names(where)
        code = compile(text, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        returned = eval(code, namespace)
        if inspect.isawaitable(returned):
            await returned
        for opened in ("client", "producer", "reader"):
            if opened in namespace and inspect.isawaitable(closed := namespace[opened].close()):
                await closed

    asyncio.run(run())
    assert "Error" not in capsys.readouterr().out


def test_the_examples_are_found() -> None:
    """Each of the ways to publish, to ask and to read has one."""
    assert {where for where, _ in EXAMPLES} >= {
        "AsyncPredictClient.predict",
        "AsyncRecordProducer.publish",
        "AsyncRecordProducer.publish_rows",
        "PredictClient.predict",
        "RecordProducer.publish",
        "RecordProducer.publish_rows",
        "ResultReader",
    }
