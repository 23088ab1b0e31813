import gc
import weakref
from contextlib import suppress
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition, errors
from kafka.net.selector import NetworkSelector
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import (
    AddOffsetsToTxnHandler,
    TransactionManager,
    TransactionState,
)
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from topicserve.backends.kafka_python.workarounds.client import (
    BatchedWakeups,
    CoalescedWakeups,
    forget_aborted_offsets,
    keep_requests,
    retry_timed_out_requests,
)


class AwayBroker:
    """The connections of a client whose broker went away."""

    def __init__(self) -> None:
        self.cluster = SimpleNamespace()

    def await_ready(self, node_id: object, timeout_ms: float) -> bool:
        raise errors.KafkaConnectionError(f"{node_id} is not ready after {timeout_ms} ms")


@pytest.mark.parametrize("patched", [True, False])
def test_a_request_waits_for_its_coordinator(*, patched: bool) -> None:
    """Without our workaround kafka-python drops it; when that is corrected there, ours can go."""
    manager = TransactionManager("worker-1")
    sender = Sender(
        AwayBroker(), None, SimpleNamespace(has_incomplete=False), transaction_manager=manager
    )
    client: Any = SimpleNamespace(_sender=sender)
    if patched:
        keep_requests(client)
    manager._transaction_coordinator = "coordinator-1"
    manager.initialize_transactions()

    sender._maybe_send_pending_request()

    waiting = [type(request).__name__ for *_, request in manager._pending_requests]
    assert ("InitProducerIdHandler" in waiting) == patched
    assert "FindCoordinatorHandler" in waiting


@pytest.mark.parametrize("patched", [True, False])
def test_offsets_that_were_refused_do_not_come_with_the_next_transaction(*, patched: bool) -> None:
    """Without our change kafka-python sends them along; when that is corrected, ours can go."""
    manager = TransactionManager("worker-1")
    manager._current_state = TransactionState.READY
    group = ConsumerGroupMetadata("group", 1, "member-1", None)
    theirs, ours = TopicPartition("topic", 0), TopicPartition("topic", 1)

    manager.begin_transaction()
    AddOffsetsToTxnHandler(manager, group, {theirs: OffsetAndMetadata(5, "", -1)}).handle_response(
        SimpleNamespace(error_code=0)
    )
    refused = [(theirs.partition, errors.UnknownMemberIdError.errno)]
    manager._pending_requests.pop()[-1].handle_response(
        SimpleNamespace(topics=[(theirs.topic, refused)])
    )
    manager.begin_abort()
    manager._complete_transaction()
    manager._pending_requests.clear()
    manager.begin_transaction()
    if patched:
        forget_aborted_offsets(SimpleNamespace(_transaction_manager=manager))
    AddOffsetsToTxnHandler(manager, group, {ours: OffsetAndMetadata(7, "", -1)}).handle_response(
        SimpleNamespace(error_code=0)
    )

    sent = manager._pending_requests.pop()[-1].request.topics[0].partitions
    assert [told.partition_index for told in sent] == ([1] if patched else [0, 1])


@pytest.mark.parametrize("patched", [True, False])
def test_a_transactional_request_that_is_not_answered_is_sent_again(*, patched: bool) -> None:
    """Without our change kafka-python gives up for good; when that is corrected, ours can go."""
    manager = TransactionManager("worker-1")
    manager._transaction_coordinator = "coordinator-1"
    if patched:
        retry_timed_out_requests(SimpleNamespace(_transaction_manager=manager))
    manager.initialize_transactions()
    handler = manager.next_request_handler(False)
    correlation_id = manager.next_in_flight_request_correlation_id()

    handler.on_complete(correlation_id, errors.RequestTimedOutError("after 9999 ms"))

    waiting = [type(request).__name__ for *_, request in manager._pending_requests]
    assert manager.has_fatal_error() != patched
    assert ("InitProducerIdHandler" in waiting) == patched
    assert ("FindCoordinatorHandler" in waiting) == patched


class CountingSocket:
    """Counts what is sent into a socket."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.sent = 0

    def send(self, data: bytes) -> int:
        self.sent += len(data)
        return int(self._socket.send(data))

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("patched", [True, False])
def test_a_loop_is_woken_once_for_all_that_ask_meanwhile(*, patched: bool) -> None:
    """Without our workaround each record sent wakes it; once corrected there, ours can go."""
    loop = CoalescedWakeups() if patched else NetworkSelector()
    loop._wakeup_w = asked = CountingSocket(loop._wakeup_w)

    for _ in range(100):
        loop.wakeup()
    assert asked.sent == (1 if patched else 100)
    loop.poll(timeout_ms=0)
    loop.wakeup()
    assert asked.sent == (2 if patched else 101)
    loop.close()


@pytest.mark.parametrize(("patched", "warnings"), [(True, 0), (False, 1)])
def test_a_step_beside_a_busy_interpreter_is_no_warning(
    *, patched: bool, warnings: int, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Here each look at the clock takes 0.2 s, as where another thread holds the lock."""
    clock = count(step=0.2)
    loop = CoalescedWakeups() if patched else NetworkSelector()
    monkeypatch.setattr("kafka.net.selector.time.monotonic", lambda: next(clock))

    loop.call_soon(lambda: None)
    loop.poll(timeout_ms=0)

    monkeypatch.undo()
    loop.close()
    assert len([one for one in caplog.records if "ran for" in one.getMessage()]) == warnings


def a_held_client() -> tuple[BatchedWakeups, CoalescedWakeups, CountingSocket]:
    """Return a client that connects to nothing, its loop, and what that is woken through."""
    loop = CoalescedWakeups()
    loop._wakeup_w = asked = CountingSocket(loop._wakeup_w)
    return BatchedWakeups(net=loop, manager=SimpleNamespace(cluster=None)), loop, asked


def test_a_held_thread_is_woken_when_all_is_ready() -> None:
    """Also when what made it ready failed: some of it may be there."""
    client, loop, asked = a_held_client()

    with suppress(RuntimeError), client.held():
        client.wakeup()
        assert asked.sent == 0
        raise RuntimeError
    assert asked.sent == 1
    loop.close()


def test_what_a_held_thread_must_run_wakes_it() -> None:
    """Who sends waits for the metadata of a topic that was forgotten meanwhile."""
    client, loop, asked = a_held_client()

    with client.held():
        loop.call_soon_threadsafe(lambda: None)
        assert asked.sent == 1
    loop.close()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_work_that_comes_while_a_loop_reads_its_wake_up_is_done(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a later wake-up lost: the loop must not count as woken for ever."""
    loop = CoalescedWakeups()
    loop._wakeup_w = asked = CountingSocket(loop._wakeup_w)
    done: list[str] = []
    read = NetworkSelector._process_events

    def read_and_be_asked(self: Any, events: Any) -> None:
        # As another thread would do, around the reading.
        if moment == "before":
            self.call_soon_threadsafe(lambda: done.append(moment))
        read(self, events)
        if moment == "after":
            self.call_soon_threadsafe(lambda: done.append(moment))

    monkeypatch.setattr(NetworkSelector, "_process_events", read_and_be_asked)
    loop.wakeup()
    loop.poll(timeout_ms=0)
    assert done == [moment]

    before = asked.sent
    loop.wakeup()
    assert asked.sent == before + 1
    loop.close()


class Answer:
    """What a caller of the loop has in hand."""


@pytest.mark.parametrize("patched", [True, False])
def test_what_a_caller_has_in_hand_does_not_outlive_an_error(*, patched: bool) -> None:
    """Without our workaround it waits for a garbage collection; once corrected there, ours can go.

    A poll that finds no record in time raises within the client, with the answers of fetches.
    """
    loop = CoalescedWakeups() if patched else NetworkSelector()
    loop.start()

    async def fail() -> None:
        raise errors.KafkaTimeoutError("no answer in time")

    def wait() -> weakref.ref[Answer]:
        answer = Answer()
        with suppress(errors.KafkaTimeoutError):
            loop.run(fail)
        return weakref.ref(answer)

    gc.collect()
    gc.disable()
    try:
        answer = wait()
        loop.stop()  # its thread may still have been at the end of the call
        assert (answer() is None) == patched
    finally:
        gc.enable()
        loop.close()
