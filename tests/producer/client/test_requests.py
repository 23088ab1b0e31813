from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import an_id
from tests.support.traffic.answers import a_result
from topicserve.backends.errors import BackendUnavailableError
from topicserve.producer.client.requests import PendingRequests
from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.record import Record
from topicserve.wire.dead_letter import OUR_HEADERS
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.wire.result import decode_result

CALL = b"client-0"
OURS, OTHER = an_id(1), an_id(2)
NAMES = [
    *sorted(OUR_HEADERS),
    "ce_type",
    "content-type",
    "ce_servable",
    "ce_servableversion",
    "topicserve-request",
    "x",
]


@given(
    value=st.none() | st.binary(max_size=40) | st.sampled_from([b"{}", b'{"id": 1}', b"[]"]),
    headers=st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.none() | st.binary(max_size=9) | st.sampled_from([b"topicserve.result", b"1", CALL]),
        ),
        max_size=8,
    ),
    record_id=st.sampled_from([OURS.encode(), OTHER.encode(), None, b"\xff"]),
    place=st.integers(0, 8),
)
def test_whatever_is_read_answers_its_request_alone(
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    record_id: bytes | None,
    place: int,
) -> None:
    """With a result or an error; nothing is raised, and no other request hears of it."""
    requests = PendingRequests()
    ours, waiting = requests.open(OURS, CALL), requests.open(an_id(3), CALL)
    headers.insert(place, ("ce_id", record_id))

    requests.answer(KafkaRecord("results", 0, 0, 0, b"key", value, headers))

    calls = {value for name, value in headers if name == "topicserve-request"}
    assert ours.done() == (record_id == OURS.encode() and (not calls or CALL in calls))
    assert not waiting.done()
    assert len(requests) == (1 if ours.done() else 2)


def test_a_request_that_was_cancelled_takes_its_answer_silently() -> None:
    """Its caller gave up as the answer came."""
    requests = PendingRequests()
    cancelled, failed = requests.open(OURS, CALL), requests.open(OTHER, CALL)
    assert cancelled.cancel()
    assert failed.cancel()

    requests.answer(KafkaRecord("results", 0, 0, 0, b"", b"", [("ce_id", OURS.encode())]))
    requests.fail_all(BackendUnavailableError("closed"))

    assert len(requests) == 0


def test_one_request_may_fail_and_be_dropped_before() -> None:
    """Each of both once."""
    requests = PendingRequests()
    failed, dropped = requests.open(OURS, CALL), requests.open(OTHER, CALL)
    requests.drop(OTHER, dropped)
    requests.drop(OTHER, dropped)

    requests.fail(OURS, failed, BackendUnavailableError("away"))

    with pytest.raises(BackendUnavailableError):
        failed.result(0)
    with pytest.raises(InvalidRecordError, match="another request"):
        requests.open(OURS, CALL), requests.open(OURS, CALL)


@pytest.mark.parametrize("record", [Record(instance=[1.0]), Record(tensors={"x": np.ones((1, 2))})])
def test_a_worker_carries_the_call_back(record: Record) -> None:
    """In a result of either encoding, beside the trace; a reader's trace has not got it."""
    sent = RecordEncoder("in", "/test").encode(replace(record, traceparent="00-1")).outgoing
    headers = [*sent.headers, ("topicserve-request", CALL)]

    answer = a_result(OutgoingRecord("in", sent.key, sent.value, headers))

    carried = dict(answer.headers)
    assert (carried["topicserve-request"], carried["traceparent"]) == (CALL, b"00-1")
    read = KafkaRecord("results", 0, 0, 0, answer.key, answer.value, answer.headers)
    assert decode_result(read).trace == (("traceparent", b"00-1"),)
