"""Record batches that no client writes, and how to write them."""

import gzip
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence

import crc32c
import zstandard
from kafka import codec

CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (1, gzip.compress),
    "snappy": (2, lambda content: bytes(codec.snappy_encode(content, xerial_compatible=False))),
    "lz4": (3, codec.lz4_encode),
    "zstd": (4, lambda content: zstandard.ZstdCompressor().compress(content)),
}
BOMB_BYTES = 40_000_000


def a_record(value: bytes, delta: int) -> bytes:
    """Return one record as it stands in a batch."""
    body = b"\0\0" + _varint(delta) + _varint(-1) + _varint(len(value)) + value + _varint(0)
    return _varint(len(body)) + body


def a_hostile_batch(payload: bytes, count: int, codec_number: int) -> bytes:
    """Return a batch with this payload, whatever it is, and a right checksum."""
    now = int(time.time() * 1000)
    header = struct.pack(">hiqqqhii", codec_number, count - 1, now, now, -1, -1, -1, count)
    covered = header + payload
    rest = struct.pack(">ibI", -1, 2, crc32c.crc32c(covered)) + covered
    return struct.pack(">qi", 0, len(rest)) + rest


def variants(name: str, values: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield batches of one codec that are cut off, altered, doubled, empty or far too large."""
    number, compress = CODECS[name]
    body = b"".join(a_record(value, delta) for delta, value in enumerate(values))
    content = compress(body)
    middle = len(content) // 2
    payloads = {
        "whole": content,
        "cut by one": content[:-1],
        "cut by nine": content[:-9],
        "half": content[:middle],
        "altered": content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :],
        "garbage behind": content + b"garbage!!",
        "twice": content + content,
        "empty": b"",
        "of nothing": compress(b""),
        "records cut off": compress(body[:-5]),
        "bomb": compress(bytes(BOMB_BYTES)),
    }
    for what, payload in payloads.items():
        if len(payload) < 900_000:
            yield what, a_hostile_batch(payload, len(values), number)


def write(bootstrap_servers: str, topic: str, partition: int, batch: bytes) -> None:
    """Append a batch as it is (Produce, version 7)."""
    host, port = bootstrap_servers.split(":")
    body = struct.pack(">hhi", 0, 7, 1) + _string("raw") + struct.pack(">hhii", -1, -1, 20_000, 1)
    body += _string(topic) + struct.pack(">iii", 1, partition, len(batch)) + batch
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        stream = connection.makefile("rb")
        (size,) = struct.unpack(">i", stream.read(4))
        answer = stream.read(size)
    at = 4 + 4 + 2 + len(topic) + 4
    number, error = struct.unpack_from(">ih", answer, at)
    assert (number, error) == (partition, 0)


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _varint(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 63)
    found = bytearray()
    while zigzag & ~0x7F:
        found.append((zigzag & 0x7F) | 0x80)
        zigzag >>= 7
    return bytes([*found, zigzag])
