import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.references.scripted_store import PREFIX, scripted
from tests.support.stages.records import an_id
from tests.support.traffic.answers import a_result
from topicserve.backends.errors import BackendUnavailableError
from topicserve.backends.references.body_reader import BodyReader
from topicserve.producer.client.requests import FETCH_THREADS, PendingRequests
from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.record import Record
from topicserve.wire.dead_letter import OUR_HEADERS
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.wire.result import Result, decode_result

CALL = b"client-0"
LIMIT_SECONDS = 60.0
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


class HangingBodies:
    """Stands for a store that gives no body, but "whole"."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.never = threading.Event()

    def whole(self) -> bytes:
        """Return a result's body."""
        return a_result(sent(0)).value or b""

    def hang(self) -> bytes:
        """Wait for as long as the test takes."""
        self.asked.release()
        self.never.wait(LIMIT_SECONDS)
        return b""


@pytest.fixture
def hanging() -> Iterator[HangingBodies]:
    """Have the scripted store hang for the body "hang"."""
    bodies = HangingBodies()
    scripted({"hang": bodies.hang, "whole": bodies.whole()})
    yield bodies
    bodies.never.set()


def sent(number: int) -> OutgoingRecord:
    """Return an input record."""
    record = Record(instance=[1.0], record_id=an_id(number))
    return RecordEncoder("in", "/test").encode(record).outgoing


def stored(number: int, name: str) -> KafkaRecord:
    """Return a result that lies in the store under this name."""
    result = a_result(sent(number))
    url = ("ce_dataref", f"{PREFIX}/{name}".encode())
    return KafkaRecord("results", 0, number, 0, result.key, b"", [*result.headers, url])


def full(hanging: HangingBodies) -> tuple[PendingRequests, list[Future[Result]]]:
    """Return requests whose bodies hang, one more than are read at once."""
    requests = PendingRequests(BodyReader([PREFIX]))
    futures = [requests.open(an_id(number), CALL) for number in range(FETCH_THREADS + 1)]
    for number in range(FETCH_THREADS + 1):
        requests.answer(stored(number, "hang"))
    for _ in range(FETCH_THREADS):
        assert hanging.asked.acquire(timeout=LIMIT_SECONDS)
    return requests, futures


def test_requests_that_are_given_up_make_room_for_other_bodies(hanging: HangingBodies) -> None:
    """Good results do not wait behind those of a store that hangs."""
    requests, futures = full(hanging)
    good = requests.open(an_id(90), CALL)
    requests.answer(stored(90, "whole"))

    for number, future in enumerate(futures):
        requests.drop(an_id(number), future)

    assert good.result(LIMIT_SECONDS).value == 1.0
    requests.close(BackendUnavailableError("closed"))


def test_how_far_a_body_is_read_can_be_told(hanging: HangingBodies) -> None:
    """Where it lies, or that it waits for others; nothing where no result came."""
    requests, futures = full(hanging)
    futures.append(requests.open(an_id(80), CALL))

    told = [requests.fetch_progress(future) for future in futures]

    assert told[0] == f"is read from {PREFIX}/hang: the store has not answered yet"
    assert told[-2:] == ["waits for other bodies to be read", None]
    requests.close(BackendUnavailableError("closed"))
    with pytest.raises(BackendUnavailableError, match="closed"):
        futures[0].result(LIMIT_SECONDS)


@pytest.mark.usefixtures("hanging")
def test_threads_stay_where_bodies_are_read() -> None:
    """Each keeps its connection for the next body."""
    requests = PendingRequests(BodyReader([PREFIX]))
    threads: set[threading.Thread] = set()
    dropped = threading.Semaphore(0)

    def drop(future: Future[Result]) -> None:
        threads.add(threading.current_thread())
        requests.drop(an_id(1), future)  # before the thread itself is done with it
        dropped.release()

    for _ in range(4 * FETCH_THREADS):
        future = requests.open(an_id(1), CALL)
        future.add_done_callback(drop)
        requests.answer(stored(1, "whole"))
        assert dropped.acquire(timeout=LIMIT_SECONDS)
        assert future.result(0).value == 1.0
    requests.close(BackendUnavailableError("closed"))

    assert len(threads) <= FETCH_THREADS
