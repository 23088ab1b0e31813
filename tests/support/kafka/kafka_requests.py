"""Requests of every kind and version that the embedded broker understands, and spoilt ones."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.support.kafka.record_batches import a_payload
from tests.support.processes.stack import a_frame
from topicserve.embedded.broker.apis import APIS

TOPICS = ("fuzz-a", "fuzz-b")

_VALUES: dict[str, Sequence[Any]] = {
    "bool": (True, False),
    "int8": (0, 1, 2),
    "int16": (1, -1, 0),
    "int32": (0, 1, -1, 1_000),
    "int64": (0, -1, 1, 1_000),
    "string": (*TOPICS, "", "range", "1"),
    "bytes": (b"", b"\0\1\0\0"),
    "uuid": (None,),
    "records": (
        a_payload([b"value"] * 3),
        a_payload(producer=(1, 0, 0)),
        a_payload(producer=(1, 0, 0), transactional=True),
    ),
}


def a_request(rng: random.Random) -> bytes:
    """Return the frame of a well-formed request, its fields filled with plausible values."""
    api = APIS[rng.choice(sorted(APIS))]
    version = rng.randint(api.min_version, api.max_version)
    return a_frame(_filled(api.request_class, version, rng), version)


def spoilt(frame: bytes, rng: random.Random) -> bytes:
    """Return a frame with something wrong in it; its length is mostly right."""
    body = rng.choice(_SPOILERS)(bytearray(frame[4:]), rng)
    length = len(body) if rng.random() < 0.95 else rng.randrange(-(2**31), 2**31)
    return length.to_bytes(4, "big", signed=True) + body


def _filled(data_class: Any, version: int, rng: random.Random) -> Any:
    values = {
        name: _value(field, version, rng)
        for name, field in data_class.fields.items()
        if field.for_version_q(version) and field.tag is None
    }
    return data_class(version=version, **values)


def _value(field: Any, version: int, rng: random.Random) -> Any:
    if field.is_struct_array():
        return [_filled(field.data_class, version, rng) for _ in range(rng.randint(0, 2))]
    if field.is_array():
        return [_value(field.array_of, version, rng) for _ in range(rng.randint(0, 2))]
    return rng.choice(_VALUES[field.type_str])


def _flip(body: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body)


def _cut(body: bytearray, rng: random.Random) -> bytes:
    return bytes(body[: rng.randrange(len(body))])


def _extreme(body: bytearray, rng: random.Random) -> bytes:
    """Put in a number that is as large, or as small, as it can be."""
    position = rng.randrange(len(body))
    body[position : position + 4] = rng.choice((b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 4))
    return bytes(body)


def _repeat(body: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(body))
    return bytes(body[:start] + body[start:] * rng.randint(2, 5))


def _noise(body: bytearray, rng: random.Random) -> bytes:
    return bytes(body[:8]) + rng.randbytes(rng.randrange(200))


_SPOILERS: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    _flip,
    _cut,
    _extreme,
    _repeat,
    _noise,
)
