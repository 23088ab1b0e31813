"""Dead letters that fit: whatever the record holds, where it came from and why is always told.

What is too large is left out: the value, or the record's own headers, or both, then the key. The
header `topicserve-truncated` names each part and its size. A short `ce_id` stays.
Last, long texts of ours are cut.
"""

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from topicserve.wire.dead_letter import (
    EXCEPTION_HEADER,
    MESSAGE_HEADER,
    OUR_HEADERS,
    TRUNCATED_HEADER,
    cut_text,
)
from topicserve.wire.header_names import ID
from topicserve.wire.kafka_record import OutgoingRecord

# A record batch's header, and the most that lengths, timestamps and offsets of a record take.
_RECORD_OVERHEAD_BYTES = 61 + 36
_HEADER_OVERHEAD_BYTES = 10
_MAX_TEXT_BYTES = 256

SMALLEST_BYTES = 2048
"""No smallest form is larger: a limit below it is of no use to any dead letter."""


def size_bytes(record: OutgoingRecord) -> int:
    """Return the most that a record takes in a batch of its own, uncompressed."""
    return (
        _RECORD_OVERHEAD_BYTES
        + len(record.key or b"")
        + len(record.value or b"")
        + _headers_bytes(record)
    )


def fit_dead_letter(
    letter: OutgoingRecord,
    max_bytes: int,
    size_of: Callable[[OutgoingRecord], int] = size_bytes,
) -> OutgoingRecord:
    """Return an encoded dead letter with as little left out as makes it fit a limit.

    Returns the smallest form if none fits. A dead letter that was refused at some size is made
    smaller by asking for one byte less.
    """
    form = letter
    for form in _forms(letter):
        if size_of(form) <= max_bytes:
            break
    return form


def _forms(letter: OutgoingRecord) -> Iterator[OutgoingRecord]:
    yield letter
    yield _without_value(letter)
    yield _without_headers(letter)
    bare = _without_headers(_without_value(letter))
    yield bare
    bare = _without_key(bare)
    yield bare
    yield _with_short_texts(bare)


def _without_value(letter: OutgoingRecord) -> OutgoingRecord:
    if not letter.value:
        return letter
    # Empty, not null: on a compacted topic a null value would delete the dead letter.
    return _marked(replace(letter, value=b""), "value", len(letter.value))


def _without_headers(letter: OutgoingRecord) -> OutgoingRecord:
    kept = [header for header in letter.headers if header[0] in OUR_HEADERS]
    kept += _short_id(letter)
    if len(kept) == len(letter.headers):
        return letter
    bare = replace(letter, headers=kept)
    return _marked(bare, "headers", _headers_bytes(letter) - _headers_bytes(bare))


def _short_id(letter: OutgoingRecord) -> list[tuple[str, bytes | None]]:
    """Return the header of the record's id if it is one short text: it always fits."""
    ids = {value or b"" for name, value in letter.headers if name == ID}
    if len(ids) != 1:
        return []
    (value,) = ids
    try:
        is_text = value.decode().isprintable()
    except UnicodeDecodeError:
        return []
    return [(ID, value)] if is_text and 0 < len(value) <= _MAX_TEXT_BYTES else []


def _without_key(letter: OutgoingRecord) -> OutgoingRecord:
    if not letter.key:
        return letter
    return _marked(replace(letter, key=None), "key", len(letter.key))


def _with_short_texts(letter: OutgoingRecord) -> OutgoingRecord:
    texts = (EXCEPTION_HEADER, MESSAGE_HEADER, TRUNCATED_HEADER)
    return replace(
        letter,
        headers=[
            (name, cut_text((value or b"").decode(errors="replace"), _MAX_TEXT_BYTES))
            if name in texts
            else (name, value)
            for name, value in letter.headers
        ],
    )


def _marked(letter: OutgoingRecord, part: str, size: int) -> OutgoingRecord:
    """Return it with one more part named as left out."""
    before = [value or b"" for name, value in letter.headers if name == TRUNCATED_HEADER]
    others = [header for header in letter.headers if header[0] != TRUNCATED_HEADER]
    named = b",".join([*filter(None, before), f"{part}={size}".encode()])
    return replace(letter, headers=[*others, (TRUNCATED_HEADER, named)])


def _headers_bytes(record: OutgoingRecord) -> int:
    return sum(
        len(name.encode(errors="replace")) + len(value or b"") + _HEADER_OVERHEAD_BYTES
        for name, value in record.headers
    )
