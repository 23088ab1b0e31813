"""Reads the headers of an input record, and checks them.

Input records and results follow the CloudEvents 1.0 Kafka binding in binary mode; trace context is
W3C's. What producers repeat in every record (source, servable, ...) is checked once and remembered.
What is remembered is bounded in number and in bytes, whatever producers choose to write.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from topicserve.wire.bodies.codec import BodyCodec
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.header_names import (
    CARRIED_BACK,
    CONTENT_TYPE,
    DEADLINE,
    EXPIRY_TIME,
    ID,
    INPUT_TYPE,
    MAX_VERSION,
    METADATA,
    METADATA_ABSENT,
    SERVABLE,
    SERVABLE_LABEL,
    SERVABLE_VERSION,
    SIGNATURE,
    SOURCE,
    SPECVERSION,
    SPECVERSION_VALUE,
    TYPE,
)
from topicserve.wire.kafka_record import Headers
from topicserve.wire.limits import DEFAULT_LIMITS, Limits, check_name, exceeds
from topicserve.wire.record_id import TO_UUID_SHAPE, UUID_SHAPE, WANTED, canonical_record_id
from topicserve.wire.rfc3339 import read_time

_REMEMBERED_ENVELOPES = 1024
# Of so many servables as many are looked at one by one: of several producers, or versions in turn.
_RECENT_SERVABLES = 128
_RECENT_ENVELOPES = 8
_REMEMBERED_BYTES = 4096
# What a header takes in memory besides its text: a tuple, a str and a bytes object.
_HEADER_BYTES = 128
_USUAL_ID = (ID, b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")


class ServableSpec(msgspec.Struct, frozen=True, gc=False):
    """Which servable, version or label (at most one of the two) and signature a record asks for."""

    servable: str | None = None
    version: int | None = None
    label: str | None = None
    signature_name: str | None = None


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the headers say that many records say alike."""

    target: ServableSpec
    codec: BodyCodec
    metadata_absent: bool


InputHeaders = tuple[
    str | None, Envelope, datetime | None, tuple[tuple[str, bytes | None], ...], int
]
"""An input record's headers, checked: id, envelope, deadline, what is carried back; their bytes."""

# Which headers are ours, and how each is read; all others are the producer's own affair.
_REPEATED, _RECORD_ID, _DEADLINE, _CARRIED = range(4)
_KINDS = {
    **dict.fromkeys(
        (
            SPECVERSION,
            SOURCE,
            TYPE,
            SERVABLE,
            SERVABLE_VERSION,
            SERVABLE_LABEL,
            SIGNATURE,
            MAX_VERSION,
            METADATA,
            CONTENT_TYPE,
        ),
        _REPEATED,
    ),
    ID: _RECORD_ID,
    **dict.fromkeys((EXPIRY_TIME, DEADLINE), _DEADLINE),
    **dict.fromkeys(CARRIED_BACK, _CARRIED),
}

# Where the producer library puts the id: where it stands there, the rest is compared as a whole.
ID_AT = 1
# Where it puts the servable: what stands there tells with what the rest is to be compared.
SERVABLE_AT = 4

_TWICE = "is there twice, with different values"

FindCodec = Callable[[str | None], BodyCodec]
"""Returns what reads the body of a content type, or raises InvalidRecordError."""


class HeaderReader:
    """Reads input records' headers within limits. One thread uses it at a time."""

    def __init__(self, find_codec: FindCodec, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._find_codec = find_codec
        self._envelopes: dict[tuple[tuple[str, bytes | None], ...], tuple[Envelope, int]] = {}
        # The last few envelopes by servable, each with the header before the id, those behind it
        # and their bytes: producers repeat them, and to compare costs a fraction of what to hash
        # all of them does.
        self._recent: dict[
            bytes | None, list[tuple[Envelope, tuple[str, bytes | None], Headers, int]]
        ] = {}

    def read(self, headers: Headers) -> InputHeaders:
        """Return the headers' meaning, or raise InvalidRecordError naming the header at fault."""
        if len(headers) <= ID_AT or headers[ID_AT][0] != ID:
            return self._read_one_by_one(headers)
        own_first, own_rest = headers[0], headers[ID_AT + 1 :]
        servable = headers[SERVABLE_AT][1] if len(headers) > SERVABLE_AT else None
        for envelope, first, rest, size in self._recent.get(servable, ()):
            if own_rest == rest and own_first == first:
                return read_id(headers[ID_AT][1]), envelope, None, (), size
        # Known only where all the rest is of the kind that is repeated: there is nothing else.
        known = self._envelopes.get((own_first, *own_rest))
        if known is None:
            return self._read_one_by_one(headers)
        if servable not in self._recent and len(self._recent) >= _RECENT_SERVABLES:
            self._recent.clear()
        recent = self._recent.setdefault(servable, [])
        recent.insert(0, (known[0], own_first, own_rest, known[1]))
        del recent[_RECENT_ENVELOPES:]
        return read_id(headers[ID_AT][1]), known[0], None, (), known[1]

    def _read_one_by_one(self, headers: Headers) -> InputHeaders:
        self._check_count(headers)
        record_id: bytes | None = None
        deadlines = []
        trace = []
        repeated = []
        others = 0
        kind_of = _KINDS.get
        for header in headers:
            kind = kind_of(header[0])
            if kind == _REPEATED:
                repeated.append(header)
            elif kind == _RECORD_ID:
                if record_id is not None and record_id != header[1]:
                    raise InvalidRecordError(ID, _TWICE)
                others += record_id is not None
                record_id = header[1]
            elif kind == _DEADLINE:
                deadlines.append(header)
            elif kind == _CARRIED:
                trace.append(header)
            else:
                others += 1
        key = tuple(repeated)
        known = self._envelopes.get(key)
        if known is None or others or trace or deadlines:
            size = self._checked_size(headers)
            envelope = self._new_envelope(key) if known is None else known[0]
        else:
            envelope, size = known  # nothing but what was counted before, and an id
        return (
            read_id(record_id),
            envelope,
            _deadline(deadlines) if deadlines else None,
            tuple(trace),
            size,
        )

    def _check_count(self, headers: Headers) -> None:
        limit = self.limits.max_headers
        if len(headers) > limit:
            raise exceeds("headers", f"are {len(headers)}", "max_headers", limit)

    def _checked_size(self, headers: Headers) -> int:
        limits = self.limits
        size = headers_bytes(headers)
        if size - _HEADER_BYTES * len(headers) > limits.max_header_bytes:
            found = f"have {size - _HEADER_BYTES * len(headers)} bytes"
            raise exceeds("headers", found, "max_header_bytes", limits.max_header_bytes)
        return size

    def _new_envelope(self, repeated: tuple[tuple[str, bytes | None], ...]) -> Envelope:
        envelope = _read_envelope(repeated, self._find_codec, self.limits)
        # With the id, which is not among them, as it stands in most records.
        size = headers_bytes(repeated) + headers_bytes([_USUAL_ID])
        if size <= _REMEMBERED_BYTES:
            if len(self._envelopes) >= _REMEMBERED_ENVELOPES:
                self._envelopes.clear()
            self._envelopes[repeated] = envelope, size
        return envelope


def headers_bytes(headers: Headers) -> int:
    """Return about how much memory headers take."""
    return sum(
        [
            _HEADER_BYTES + len(name) + (0 if value is None else len(value))
            for name, value in headers
        ]
    )


def read_id(value: bytes | None) -> str | None:
    """Return a record id in its canonical form; None where there is none at all."""
    if value is None:
        return None
    if value.translate(TO_UUID_SHAPE) == UUID_SHAPE:  # nearly always
        return value.decode()
    try:
        return canonical_record_id(value.decode())
    except ValueError:  # UnicodeDecodeError is one too
        raise InvalidRecordError(ID, f"must be {WANTED}, found {value[:64]!r}") from None


def _read_envelope(headers: Headers, find_codec: FindCodec, limits: Limits) -> Envelope:
    ours = {name: _text(name, value) for name, value in headers}
    if len(ours) < len(headers):
        _check_repeated(headers)
    _expect(ours, SPECVERSION, SPECVERSION_VALUE)
    _expect(ours, TYPE, INPUT_TYPE)
    if not ours.get(SOURCE):
        raise InvalidRecordError(SOURCE, "is missing; CloudEvents requires it")
    for name in (SERVABLE, SERVABLE_LABEL, SIGNATURE):
        check_name(name, ours.get(name), limits)
    version = _version(ours)
    label = ours.get(SERVABLE_LABEL)
    if version is not None and label is not None:
        raise InvalidRecordError(SERVABLE_LABEL, "give a version or a label, not both")
    return Envelope(
        ServableSpec(ours.get(SERVABLE), version, label, ours.get(SIGNATURE)),
        find_codec(ours.get(CONTENT_TYPE)),
        _metadata_absent(ours),
    )


def _check_repeated(headers: Headers) -> None:
    seen: dict[str, bytes | None] = {}
    for name, value in headers:
        if seen.setdefault(name, value) != value:
            raise InvalidRecordError(name, _TWICE)


def _text(name: str, value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        raise InvalidRecordError(name, "is not UTF-8") from None


def _expect(headers: Mapping[str, str], name: str, wanted: str) -> None:
    found = headers.get(name)
    if found != wanted:
        shown = None if found is None else found[:64]
        raise InvalidRecordError(name, f"must be {wanted!r}, found {shown!r}")


def _metadata_absent(headers: Mapping[str, str]) -> bool:
    found = headers.get(METADATA)
    if found not in (None, METADATA_ABSENT):
        raise InvalidRecordError(
            METADATA, f"may only be {METADATA_ABSENT!r}, found {(found or '')[:64]!r}"
        )
    return found is not None


def _version(headers: Mapping[str, str]) -> int | None:
    text = headers.get(SERVABLE_VERSION)
    if text is None:
        return None
    # The length is checked first: int() refuses very long digits with an error of its own.
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_VERSION:
        return int(text)
    raise InvalidRecordError(
        SERVABLE_VERSION, f"must be a whole number up to 2^63 - 1, found {text[:64]!r}"
    )


def _deadline(headers: Headers) -> datetime | None:
    """Return when a record expires; headers that say so twice must say the same."""
    times = {_time(name, value) for name, value in headers if value is not None}
    if len(times) > 1:
        named = " and ".join(dict.fromkeys(name for name, _ in headers))
        raise InvalidRecordError(named, "given more than once, with different times")
    return times.pop() if times else None


def _time(name: str, value: bytes | None) -> datetime:
    text = _text(name, value)
    try:
        return read_time(text)
    except ValueError:
        raise InvalidRecordError(
            name, f"must be RFC 3339 with an offset, found {text[:64]!r}"
        ) from None
