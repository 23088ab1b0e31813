import selectors
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import errors
from kafka.net.transport import KafkaTCPTransport

from topicserve.backends.kafka_python.workarounds.client import CoalescedWakeups
from topicserve.backends.kafka_python.workarounds.sockets import (
    RECEIVE_BYTES,
    SELECTOR,
    receive_much_at_once,
)

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give both ends of a connection; the first does not block."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


class CountingSocket:
    """Counts how often a socket is read, and fails to be described."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.reads = 0

    def recv(self, size: int) -> bytes:
        self.reads += 1
        return self._socket.recv(size)

    def fileno(self) -> int:
        return self._socket.fileno()

    def __repr__(self) -> str:
        raise AssertionError("describing a socket costs system calls")


def a_transport(connected: Any, *, patched: bool = True) -> Any:
    """Return a transport of kafka-python's around a socket."""
    transport = KafkaTCPTransport(SimpleNamespace(), connected)
    if patched:
        receive_much_at_once(transport)
    return transport


@pytest.mark.parametrize(("patched", "at_most"), [(True, 2), (False, 100)])
def test_much_is_read_in_few_calls(pair: Pair, *, patched: bool, at_most: int) -> None:
    """Without our change kafka-python reads 4 KiB at a time; once corrected there, ours can go."""
    ours, theirs = pair
    content = bytes(range(256)) * 256
    theirs.sendall(content)
    counted = CountingSocket(ours)

    assert a_transport(counted, patched=patched)._sock_recv() == (content, None)

    assert counted.reads <= at_most
    assert (counted.reads > 2) != patched


@pytest.mark.parametrize("size", [1, RECEIVE_BYTES, RECEIVE_BYTES + 1])
def test_what_came_before_the_end_is_delivered(pair: Pair, size: int) -> None:
    """A refusal that a broker sends right before it hangs up is read; the end is found then."""
    ours, theirs = pair
    transport = a_transport(ours)
    theirs.sendall(bytes(size))
    theirs.close()

    content, error = b"", None
    while error is None:
        part, error = transport._sock_recv()
        content += part

    assert content == bytes(size)
    assert isinstance(error, errors.KafkaConnectionError)


def test_a_transport_that_was_closed_meanwhile_has_an_error(pair: Pair) -> None:
    """The event loop may close it when it has found it readable; the task that reads it goes on."""
    transport = a_transport(pair[0])
    transport._sock = None

    content, error = transport._sock_recv()

    assert not content
    assert isinstance(error, errors.KafkaConnectionError)


def test_an_empty_socket_gives_nothing(pair: Pair) -> None:
    """Woken for nothing, the transport waits again."""
    assert a_transport(pair[0])._sock_recv() == (b"", None)


def test_a_broken_socket_is_an_error(pair: Pair) -> None:
    """Of the kind that has the client connect again."""
    pair[0].close()

    content, error = a_transport(pair[0])._sock_recv()

    assert content == b""
    assert isinstance(error, errors.KafkaConnectionError)


def test_the_loop_waits_without_describing_sockets(pair: Pair) -> None:
    """Register, wait, unregister, and again: as kafka-python's event loop does for each read."""
    loop = CoalescedWakeups()
    counted = CountingSocket(pair[0])
    woken = []

    def read() -> Any:
        for _ in range(3):
            yield loop.wait_read(counted)
            woken.append(pair[0].recv(1))

    loop.call_soon(read())
    for byte in (b"a", b"b", b"c"):
        pair[1].sendall(byte)
        loop.poll(timeout_ms=10_000)
        loop.poll(timeout_ms=0)

    assert woken == [b"a", b"b", b"c"]
    loop.close()


CALLS = st.sampled_from(["register", "unregister", "modify", "get_key", "select", "reopen"])


@given(st.lists(st.tuples(CALLS, st.integers(0, 2), st.sampled_from([READ, WRITE, READ | WRITE]))))
def test_it_selects_as_the_systems_own(calls: list[tuple[str, int, int]]) -> None:
    """Whatever is registered, left, changed or closed in between."""
    plain, ours = selectors.DefaultSelector(), SELECTOR()
    pairs = [socket.socketpair() for _ in range(3)]
    for number, (call, index, events) in enumerate([*calls, ("select", 0, READ)]):
        if call == "reopen":
            for selector in (plain, ours):
                told(selector, "unregister", pairs[index][0], events, number)
            for one in pairs[index]:
                one.close()
            pairs[index] = socket.socketpair()
        else:
            found = [told(one, call, pairs[index][0], events, number) for one in (plain, ours)]
            assert found[0] == found[1]
    plain.close()
    ours.close()
    for one in (end for both in pairs for end in both):
        one.close()


def told(
    selector: selectors.BaseSelector, call: str, connected: socket.socket, events: int, data: int
) -> object:
    """Return what a call gives, or the kind of its error."""
    try:
        match call:
            case "register" | "modify":
                return getattr(selector, call)(connected, events, data)
            case "select":
                return sorted((key.fd, key.data, mask) for key, mask in selector.select(0))
            case _:
                return getattr(selector, call)(connected)
    except KeyError:
        return KeyError
