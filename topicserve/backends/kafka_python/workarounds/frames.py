"""Fewer copies of a large answer, and none into memory that is new each time.

kafka-python (3.0.12) joins what it received, writes that into a frame, and copies the frame twice
before it decodes it. Of records of a mebibyte each fetch brings several megabytes, and the pages of
so much new memory cost more than the copies. Here a large answer is received where it is decoded,
and the next one takes its place: what is decoded owns its memory.
"""

# ruff: noqa: SLF001 - there is no other place

from typing import Any

from kafka.net.connection import KafkaConnection
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.schemas.fields.codecs import Int32

LARGE_BYTES = 64 * 1024
"""More than this is received in place."""
MAX_SPARE_BYTES = 20 * 1024 * 1024
"""What is kept for the next large answer: as much as a fetch from four partitions brings."""


class SpareMemory:
    """What one client keeps between large answers. The thread of its event loop alone uses it."""

    def __init__(self) -> None:
        self._spare: bytearray | None = None

    def take(self, octets: int) -> bytearray:
        """Return memory for so many bytes at least; it has anything in it."""
        spare, self._spare = self._spare, None
        return spare if spare is not None and len(spare) >= octets else bytearray(octets)

    def give_back(self, memory: bytearray) -> None:
        """Keep memory for the next answer, unless it is too much."""
        if LARGE_BYTES < len(memory) <= MAX_SPARE_BYTES:
            self._spare = memory


def receive_into_frames(connection: Any, spare: SpareMemory) -> None:
    """To a new connection, before it is made: receive large answers where they are decoded."""
    connection.__class__ = _Connection
    connection.spare = spare


def room_in_frame(transport: Any) -> memoryview | None:
    """Return where a transport may receive the rest of a large answer, None where there is none.

    The last byte is left to the parser, which then sees the end of the answer. What was received,
    `note_received` is to be told.
    """
    parser = getattr(transport.get_protocol(), "parser", None)
    frame = parser._rbuffer if isinstance(parser, FrameParser) else None
    if frame is None or len(frame) - frame.tell() <= LARGE_BYTES:
        return None
    return frame.content[frame.tell() : -1]


def note_received(transport: Any, octets: int) -> None:
    """Say how many bytes were received into the room."""
    frame = transport.get_protocol().parser._rbuffer
    frame.seek(frame.tell() + octets)


class _Connection(KafkaConnection):  # type: ignore[misc]  # the library is untyped
    spare: SpareMemory

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.parser.__class__ = FrameParser
        self.parser.spare = self.spare


class FrameParser(KafkaProtocol):  # type: ignore[misc]  # the library is untyped
    """The library's parser, whose frames are where large answers are received and decoded."""

    spare: SpareMemory
    _rbuffer: "_Frame | None"

    def receive_bytes(self, data: bytes) -> list[Any]:
        """Return the answers that end in what was received; see the library's own."""
        responses, received = [], memoryview(data)
        while received:
            frame = self._header if self._rbuffer is None else self._rbuffer
            missing = len(frame) - frame.tell()
            frame.write(received[:missing])
            received = received[missing:]
            if frame.tell() < len(frame):
                break
            frame.seek(0)
            if self._rbuffer is not None:
                responses.append(self._process_response(frame))
                self.spare.give_back(frame.memory)
                self._reset_buffer()
                continue
            octets = Int32.decode(frame)
            frame.seek(0)
            self._validate_frame_size(octets)
            self._rbuffer = self._frame(octets)
        return responses

    def _frame(self, octets: int) -> "_Frame":
        memory = self.spare.take(octets) if octets > LARGE_BYTES else bytearray(octets)
        return _Frame(memory, octets)


class _Frame:
    """The library's KafkaBytes in memory that may be larger, whose rest is read without a copy."""

    def __init__(self, memory: bytearray, octets: int) -> None:
        self.memory = memory
        self.content = memoryview(memory)[:octets]
        self._index = 0

    def __len__(self) -> int:
        return len(self.content)

    def tell(self) -> int:
        return self._index

    def seek(self, index: int) -> None:
        self._index = index

    def write(self, data: memoryview) -> None:
        start, self._index = self._index, self._index + len(data)
        self.content[start : self._index] = data

    def read(self, octets: int | None = None) -> bytes | memoryview:
        start, self._index = self._index, len(self)
        if octets is None:
            return self.content[start:]
        self._index = min(start + octets, len(self))
        return bytes(self.content[start : self._index])
