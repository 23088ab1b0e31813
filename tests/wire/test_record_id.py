"""Record ids, wherever they travel."""

import time
import uuid

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import a_kafka_record
from topicserve.cli.publish.json_lines import read_record
from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.record import Record
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import read_id
from topicserve.wire.input_record import decode_input
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.protobuf_codec import encode_predict_request
from topicserve.wire.record_id import canonical_record_id, new_record_id
from topicserve.wire.result import Metadata, MetadataStatus, decode_result
from topicserve.wire.result_encoder import Origin, encode_results

SAFE = [
    "order-4711",
    "a",
    "42",
    "tenant/7:x",
    'say"so"',
    "back\\slash",
    "größe",
    "注文-1",
    "x" * 256,
]
UNSAFE = [
    "",
    " ",
    "a b",
    "a\n",
    "\0",
    "\x7f",
    "a\u00a0b",
    "\u200b",
    "\u202ex",
    "\ufeffx",
    "x" * 257,
]
UNSAFE += ["é" * 129, "\u2028", "\ud800"]
# Default_Ignorable_Code_Point, and a blank: the Hangul fillers show nothing, and are letters.
UNSAFE += [f"a{one}" for one in "\u115f\u1160\u17b4\u180b\u180f\u2800\u3164\uffa0"]
UNSAFE += ["\U0001bca0", "\U0001d173", "\U000e0020"]


def id_at_the_worker(record_id: str, tensors: bool = False) -> str | None:
    """Return the id that a worker reads in the header, or in a protobuf body."""
    text = record_id.encode(errors="surrogatepass")
    record = a_kafka_record()
    headers = [(name, text if name == "ce_id" else value) for name, value in record.headers]
    if tensors:
        headers = [
            (name, b"application/x-protobuf" if name == "content-type" else value)
            for name, value in headers
            if name != "ce_id"
        ]
        columns = {"x": np.zeros(1), "metadata_uid": np.array([text], object)}
        record = a_kafka_record(value=encode_predict_request(columns))
    try:
        return decode_input(KafkaRecord("in", 0, 0, 0, None, record.value, headers)).record_id
    except InvalidRecordError:
        return None


def id_at_the_producer(record_id: str) -> str | None:
    """Return the id that the producer library sends."""
    try:
        return (
            RecordEncoder("in", "/tests").encode(Record(instance=1, record_id=record_id)).record_id
        )
    except InvalidRecordError:
        return None


@pytest.mark.parametrize("record_id", SAFE)
def test_a_producers_own_names_are_taken(record_id: str) -> None:
    """As they are."""
    assert canonical_record_id(record_id) == record_id
    assert read_id(record_id.encode()) == record_id


@pytest.mark.parametrize("record_id", UNSAFE)
def test_what_is_not_safe_in_a_key_is_refused(record_id: str) -> None:
    """White space, control and invisible characters, and what is too long."""
    assert id_at_the_producer(record_id) is None
    assert id_at_the_worker(record_id) is None


def test_a_hyphenated_uuid_is_the_same_in_capitals() -> None:
    """So that its metadata is found, however its producer prints it."""
    lower = "4a7c9be0-51c8-4b61-a7a4-0e4f0b9ba7d1"

    assert canonical_record_id(lower.upper()) == lower
    assert id_at_the_producer(lower.upper()) == lower
    assert id_at_the_worker(lower.upper()) == lower
    assert id_at_the_worker(lower.upper(), tensors=True) == lower


@pytest.mark.parametrize(
    "record_id",
    [
        "4a7c9be051c84b61a7a40e4f0b9ba7d1",
        "4A7C9BE051C84B61A7A40E4F0B9BA7D1",
        "{4a7c9be0-51c8-4b61-a7a4-0e4f0b9ba7d1}",
        "urn:uuid:4A7C9BE0-51c8-4b61-a7a4-0e4f0b9ba7d1",
        "4A7C9BE051C8-4B61-A7A4-0E4F0B9BA7D1",
        "1234_5678_9012_3456_7890_1234_56",
        "0x" + "1" * 30,
        "-".join("1" * 32),
    ],
)
def test_what_resembles_a_uuid_stays_as_it_is(record_id: str) -> None:
    """An MD5 sum or a trace id: its producer has stored the metadata under that very text."""
    assert id_at_the_producer(record_id) == record_id
    assert id_at_the_worker(record_id) == record_id
    assert id_at_the_worker(record_id, tensors=True) == record_id


_texts = st.text(max_size=8) | st.sampled_from([*SAFE, *UNSAFE]) | st.uuids().map(str)


@given(
    st.lists(
        _texts | st.text(st.sampled_from('"\\/{}a,:\u00e9\x1f'), max_size=8), min_size=1, max_size=4
    )
)
def test_producer_worker_and_results_agree_on_every_text(texts: list[str]) -> None:
    """It is refused by all, or it comes back in each result as it was sent."""
    ids = []
    for text in texts:
        found = id_at_the_producer(text)
        assert found == id_at_the_worker(text) == id_at_the_worker(text, tensors=True)
        if found is not None:
            ids.append(found)
            line = orjson.dumps({"id": text, "instance": 1})
            assert read_record(line).record_id == text
    inputs = [decode_input(a_kafka_record(headers=[("ce_id", one.encode())])) for one in ids]
    metadata = [Metadata(MetadataStatus.ABSENT)] * len(ids)
    results = encode_results(
        "out",
        Origin("m", 1, "s", "w"),
        inputs,
        [None] * len(ids),
        {"y": np.arange(len(ids))},
        metadata,
    )

    for record_id, sent in zip(ids, results, strict=True):
        result = decode_result(KafkaRecord("out", 0, 0, 0, sent.key, sent.value, sent.headers))
        assert result.record_id == record_id
        assert dict(sent.headers)["ce_id"] == record_id.encode()
        assert canonical_record_id(record_id) == record_id


@given(st.binary(max_size=40))
def test_no_header_raises_anything_else(value: bytes) -> None:
    """A topic may hold any."""
    try:
        record_id = read_id(value)
    except InvalidRecordError:
        return
    assert record_id is not None
    assert read_id(record_id.encode()) == record_id


def test_new_ids_are_uuids_that_sort_by_time() -> None:
    """Version 7, in the canonical form, with the milliseconds of now in front."""
    before = time.time_ns() // 1_000_000
    ids = [new_record_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000

    parsed = [uuid.UUID(one) for one in ids]
    assert len(set(ids)) == len(ids)
    assert {(one.version, one.variant) for one in parsed} == {(7, uuid.RFC_4122)}
    assert [one.int >> 80 for one in parsed] == sorted(one.int >> 80 for one in parsed)
    assert before <= parsed[0].int >> 80 <= parsed[-1].int >> 80 <= after
    assert [canonical_record_id(one) for one in ids] == ids
