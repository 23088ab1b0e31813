import select
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import errors
from kafka.net.connection import KafkaConnection
from kafka.net.transport import KafkaTCPTransport
from kafka.protocol.consumer import FetchRequest, FetchResponse
from kafka.protocol.parser import KafkaProtocol

from topicserve.backends.kafka_python.workarounds.frames import (
    LARGE_BYTES,
    MAX_SPARE_BYTES,
    FrameParser,
    SpareMemory,
    receive_into_frames,
)
from topicserve.backends.kafka_python.workarounds.sockets import receive_much_at_once

VERSION = 12


def a_parser(kind: type[Any], requests: int, spare: SpareMemory | None = None) -> Any:
    """Return a parser that waits for so many answers to fetches."""
    parser = kind()
    parser.spare = spare or SpareMemory()
    for _ in range(requests):
        parser.send_request(FetchRequest(version=VERSION))
    return parser


def an_answer(number: int, content: bytes) -> bytes:
    """Return the frame of a fetch's answer with these records in it, as a broker sends it."""
    data = FetchResponse.FetchableTopicResponse.PartitionData(
        partition_index=number, records=content, version=VERSION
    )
    topic = FetchResponse.FetchableTopicResponse(topic="in", partitions=[data], version=VERSION)
    response = FetchResponse(responses=[topic], version=VERSION)
    response.with_header(correlation_id=number + 1)
    return bytes(response.encode(framed=True, header=True))


def records_in(answers: Sequence[tuple[int, Any]]) -> list[tuple[int, int, bytes]]:
    """Return what was read: the request's number, the partition and the records."""
    return [
        (number, partition.partition_index, partition.records)
        for number, answer in answers
        for topic in answer.responses
        for partition in topic.partitions
    ]


sizes = st.integers(0, 100) | st.integers(LARGE_BYTES - 80, LARGE_BYTES + 80)


@settings(max_examples=60)
@given(st.lists(sizes, min_size=1, max_size=4), st.lists(st.integers(1, 90_000), max_size=20))
def test_answers_are_read_as_the_library_reads_them(counts: list[int], cuts: list[int]) -> None:
    """Small and large ones, however the network cuts them: also in what was read before."""
    answers = [an_answer(n, bytes([n + 1]) * count) for n, count in enumerate(counts)]
    content = b"".join(answers)
    plain, ours = (a_parser(kind, len(counts)) for kind in (KafkaProtocol, FrameParser))
    found: list[Any] = []
    expected: list[Any] = []
    for cut in [*cuts, len(content)]:
        part, content = content[:cut], content[cut:]
        expected += plain.receive_bytes(part)
        found += ours.receive_bytes(part)

    assert records_in(found) == records_in(expected)
    assert len(found) == len(counts)


@pytest.mark.parametrize("size", [-1, 100_000_001])
def test_a_frame_of_no_possible_size_is_refused(size: int) -> None:
    """Before any memory is taken for it."""
    with pytest.raises(errors.InvalidReceiveError, match="Invalid frame length"):
        a_parser(FrameParser, 1).receive_bytes(struct.pack(">i", size))


def test_an_answer_that_cannot_be_decoded_is_an_error() -> None:
    """As the library's own: the connection ends with it."""
    content = struct.pack(">iib", LARGE_BYTES * 2, 1, 0) + bytes([0x7E]) * (LARGE_BYTES * 2 - 5)

    for kind in (KafkaProtocol, FrameParser):
        with pytest.raises(errors.KafkaProtocolError, match="Unable to decode response"):
            a_parser(kind, 1).receive_bytes(content)


def test_memory_is_used_again_for_the_next_large_answer() -> None:
    """By answers of any connection of a client, as far as it is large enough."""
    spare = SpareMemory()
    first = spare.take(LARGE_BYTES * 2)
    assert spare.take(LARGE_BYTES * 2) is not first  # it is in use

    spare.give_back(first)

    assert spare.take(LARGE_BYTES + 1) is first
    spare.give_back(first)
    assert len(spare.take(LARGE_BYTES * 3)) == LARGE_BYTES * 3


@pytest.mark.parametrize("size", [LARGE_BYTES, MAX_SPARE_BYTES + 1])
def test_small_and_huge_memory_is_not_kept(size: int) -> None:
    """The one costs nothing to make, the other too much to keep."""
    spare = SpareMemory()
    memory = bytearray(size)

    spare.give_back(memory)

    assert spare.take(size) is not memory


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give both ends of a connection; the first does not block."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def a_connection(ours: socket.socket, requests: int) -> tuple[Any, Any]:
    """Return a connection that was made, and its transport."""
    connection = KafkaConnection(SimpleNamespace(), node_id=1)
    receive_into_frames(connection, SpareMemory())
    transport = KafkaTCPTransport(SimpleNamespace(call_soon=lambda _: None), ours)
    receive_much_at_once(transport)
    connection.connection_made(transport)
    for _ in range(requests):
        connection.parser.send_request(FetchRequest(version=VERSION))
    return connection, transport


def receive(connection: Any, transport: Any) -> tuple[list[Any], int]:
    """Read the socket empty; return the answers, and the bytes that were not received in place."""
    answers: list[Any] = []
    passed_on = 0
    while select.select([transport._sock], [], [], 0)[0]:
        data, error = transport._sock_recv()
        assert error is None
        passed_on += len(data)
        answers += connection.parser.receive_bytes(data)
    return answers, passed_on


def test_the_rest_of_a_large_answer_is_received_where_it_is_decoded(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """But for its last byte; the answer behind it is read as ever."""
    ours, theirs = pair
    large, small = an_answer(0, b"x" * (LARGE_BYTES * 3)), an_answer(1, b"small")
    connection, transport = a_connection(ours, 2)
    answers, passed_on = [], 0
    for part in (large[:1000], large[1000:70_000], large[70_000:-500], large[-500:] + small):
        theirs.sendall(part)
        found, octets = receive(connection, transport)
        answers += found
        passed_on += octets

    assert records_in(answers) == [(1, 0, b"x" * (LARGE_BYTES * 3)), (2, 1, b"small")]
    assert passed_on < LARGE_BYTES + 2000


class TlsSocket(ssl.SSLSocket):
    """Holds decrypted bytes, of which the system does not tell; gives 16 KiB at a time, as TLS."""

    content = b""

    def recv(self, size: int = 1024, *_: int) -> bytes:
        if not self.content:
            raise ssl.SSLWantReadError
        part = self.content[: min(size, 16 * 1024)]
        self.content = self.content[len(part) :]
        return part

    def recv_into(self, buffer: Any, *_: Any) -> int:
        part = self.recv(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def test_nothing_is_left_in_a_tls_connection() -> None:
    """One wake-up may be the last for all that has come."""
    tls = TlsSocket.__new__(TlsSocket)
    connection, transport = a_connection(tls, 2)
    content = an_answer(0, b"x" * (LARGE_BYTES * 3)) + an_answer(1, b"small")
    answers: list[Any] = []
    for part in (content[:1000], content[1000:]):
        tls.content = part
        answers += connection.parser.receive_bytes(transport._sock_recv()[0])
        assert not tls.content

    assert len(answers) == 2


def test_a_connection_that_ends_within_a_large_answer_is_told(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """By the read that finds it, behind what came before."""
    ours, theirs = pair
    connection, transport = a_connection(ours, 1)
    theirs.sendall(an_answer(0, b"x" * (LARGE_BYTES * 3))[:1000])
    receive(connection, transport)
    theirs.sendall(b"x")
    theirs.close()

    assert transport._sock_recv() == (b"", None)
    _, error = transport._sock_recv()
    assert isinstance(error, errors.KafkaConnectionError)


def test_an_answer_is_not_changed_by_the_next() -> None:
    """Whose memory is the same."""
    parser = a_parser(FrameParser, 2)
    (first,) = parser.receive_bytes(an_answer(0, b"x" * LARGE_BYTES))
    parser.receive_bytes(an_answer(1, b"y" * LARGE_BYTES))

    assert records_in([first]) == [(1, 0, b"x" * LARGE_BYTES)]
