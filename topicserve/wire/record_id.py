"""Record ids: what names a record in its header, its Kafka key, its metadata's key and its result.

A UUIDv7 is what the producer library makes. Any other text that is safe in a key is taken too, so
that a producer may use the name that its records have already.
"""

import os
import re
import time
import uuid

MAX_RECORD_ID_BYTES = 256
WANTED = (
    f"a UUID, or text of 1 to {MAX_RECORD_ID_BYTES} bytes of UTF-8 without white space, control or "
    "invisible characters"
)

# A canonical UUID, once each of its digits is an x. A regular expression takes six times as long.
UUID_SHAPE = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
TO_UUID_SHAPE = bytes(
    ord("x") if byte in b"0123456789abcdef" else byte if byte == ord("-") else 0
    for byte in range(256)
)
# RFC 9562's own form. 32 digits without hyphens may be an MD5 sum or a trace id, whose metadata
# their producer has stored under that very text.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
# White space, control characters, and what is invisible or changes how its surroundings look:
# Unicode's Default_Ignorable_Code_Point, and the blank U+2800. The ranges are written out: Python's
# own notion of printable grows from version to version.
_UNSAFE = re.compile(
    "[\\x00-\\x20\\x7f-\\xa0\\xad\\u034f\\u061c\\u115f\\u1160\\u1680\\u17b4\\u17b5\\u180b-\\u180f"
    "\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u2800\\u3000\\u3164\\ud800-\\udfff"
    "\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\uffff\\U0001bca0-\\U0001bca3"
    "\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff]"
)


def new_record_id() -> str:
    """Return a UUIDv7 (RFC 9562): later ones sort later, to a quarter of a microsecond."""
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = nanoseconds * 4096 // 1_000_000  # the RFC's method 3: the clock in place of chance
    chance = int.from_bytes(os.urandom(8)) >> 2
    number = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | chance
    return str(uuid.UUID(int=number))


def canonical_record_id(text: str) -> str:
    """Return a hyphenated UUID in lower case, any other id as it is.

    Raises ValueError for what is no id. The metadata's key must be the same for the producer and
    the worker.
    """
    if _UUID.fullmatch(text):
        return text.lower()
    if _UNSAFE.search(text) or not 0 < len(text.encode()) <= MAX_RECORD_ID_BYTES:
        raise ValueError(f"must be {WANTED}")
    return text
