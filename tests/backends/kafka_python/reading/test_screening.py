"""What is looked at before a client fetches it, without a broker."""

import logging
from typing import Any

import kafka
import pytest
from kafka.record.memory_records import MemoryRecords

from tests.support.kafka.record_batches import a_payload
from topicserve.backends.kafka_python.reading.screening import _ScreenedRecords
from topicserve.wire.kafka_record import TopicPartition

LZ4 = 3


def test_a_missing_codec_is_named_once_a_look(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many batches use it: they are left to the client."""
    payload = a_payload([b"a" * 100], compression=LZ4) * 3
    monkeypatch.setattr("kafka.codec.has_lz4", lambda: False)
    own = {"_left": {TopicPartition("in", 0): 1 << 20}, "_missing": set(), "_max_bytes": 1 << 20}
    kind: Any = type("Records", (_ScreenedRecords,), own)

    with caplog.at_level(logging.WARNING):
        found = kind(0, kafka.TopicPartition("in", 0), MemoryRecords(payload)).take(10)

    assert found == []
    assert [record.getMessage() for record in caplog.records] == [
        "batches are not checked before they are fetched: UnsupportedCodecError: Libraries "
        "for lz4 compression codec not found; install topicserve[codecs]"
    ]
