"""Decompresses a batch up to a limit: a few kilobytes of zeros may stand for gigabytes.

kafka-python (3.0.12) decompresses a batch as a whole, whatever comes out. What needs a limit here
reads the same formats with the same libraries, piece by piece.
"""

# ruff: noqa: SLF001 - there is no other place

import zlib
from typing import Any

from kafka import codec
from kafka.record.default_records import DefaultRecordBatch

from topicserve.errors import TopicserveError

# What is read at once: all of an ordinary batch, and never much more than the batch itself.
_CHUNK_BYTES = 256 * 1024
_USUAL_RATIO = 8
# zlib's code for "gzip, with the largest window".
_GZIP = 16 + zlib.MAX_WBITS
_XERIAL_HEADER_BYTES = 16


class BatchTooLargeError(TopicserveError):
    """A batch decompresses to more than is allowed."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"decompresses to more than {max_bytes} bytes (kafka.max_decompressed_bytes)"
        )


def bounded(batch: Any, max_bytes: int) -> Any:
    """Return a batch that raises BatchTooLargeError when it is read, if it is too large."""
    if type(batch) is DefaultRecordBatch and batch.compression_type != batch.CODEC_NONE:
        batch.__class__ = _batch_class(max_bytes)
    return batch


def decompress(compression: int, data: bytes, max_bytes: int) -> bytes:
    """Return what was compressed, or raise BatchTooLargeError; other errors are the library's."""
    kind = DefaultRecordBatch
    if compression == kind.CODEC_GZIP:
        return _gzip(data, max_bytes)
    if compression == kind.CODEC_LZ4:
        return _lz4(data, max_bytes)
    if compression == kind.CODEC_ZSTD:
        return _zstd(data, max_bytes)
    if _snappy_bytes(data) > max_bytes:
        raise BatchTooLargeError(max_bytes)
    content: bytes = codec.snappy_decode(data)
    return content


_classes: dict[int, type[Any]] = {}


def _batch_class(max_bytes: int) -> type[Any]:
    """Return the class of batches with this limit; a worker has one."""
    found = _classes.get(max_bytes)
    if found is None:

        class Bounded(DefaultRecordBatch):  # type: ignore[misc]  # the library is untyped
            __slots__ = ()

            def _maybe_uncompress(self: Any) -> None:
                if not self._decompressed:
                    self._assert_has_codec(self.compression_type)
                    data = bytes(memoryview(self._buffer)[self._pos :])
                    content = decompress(self.compression_type, data, max_bytes)
                    self._buffer, self._pos = bytearray(content), 0
                self._decompressed = True

        found = _classes[max_bytes] = Bounded
    return found


def _chunk_bytes(data: bytes) -> int:
    return _CHUNK_BYTES + _USUAL_RATIO * len(data)


def _gzip(data: bytes, max_bytes: int) -> bytes:
    content, chunk_bytes = bytearray(), _chunk_bytes(data)
    while data:  # a stream may have several members
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            piece = member.decompress(data, chunk_bytes)
            data = member.unconsumed_tail
            content += piece
            if len(content) > max_bytes:
                raise BatchTooLargeError(max_bytes)
            if not piece and not data and not member.eof:
                raise EOFError("the gzip stream is cut off")
        data = member.unused_data.lstrip(b"\0")  # padding is allowed
    return bytes(content)


def _lz4(data: bytes, max_bytes: int) -> bytes:
    frame = codec.lz4.LZ4FrameDecompressor()
    content, chunk_bytes = bytearray(), _chunk_bytes(data)
    while not frame.eof:
        piece = frame.decompress(data, max_length=chunk_bytes)
        data = b""
        content += piece
        if len(content) > max_bytes:
            raise BatchTooLargeError(max_bytes)
        if not piece and frame.needs_input:
            raise EOFError("the LZ4 frame is cut off")
    return bytes(content)


def _zstd(data: bytes, max_bytes: int) -> bytes:
    decompressor = codec.zstd.ZstdDecompressor()
    content, chunk_bytes = bytearray(), _chunk_bytes(data)
    with decompressor.stream_reader(data, read_across_frames=True) as reader:
        while piece := reader.read(chunk_bytes):
            content += piece
            if len(content) > max_bytes:
                raise BatchTooLargeError(max_bytes)
    return bytes(content)


def _snappy_bytes(data: bytes) -> int:
    """Return what snappy blocks say that they hold; the library refuses those that hold more."""
    if not codec._detect_xerial_stream(data):
        return _block_bytes(data, 0)
    total, position = 0, _XERIAL_HEADER_BYTES
    while position + 4 <= len(data):
        size = int.from_bytes(data[position : position + 4])
        total += _block_bytes(data, position + 4)
        position += 4 + size
    return total


def _block_bytes(data: bytes, position: int) -> int:
    """Return the length that a block begins with: a varint of up to five bytes."""
    length = 0
    for shift, octet in zip(range(0, 35, 7), data[position : position + 5], strict=False):
        length |= (octet & 0x7F) << shift
        if octet < 0x80:
            break
    return length
