"""References: where a record's body lies, if not in the record (CloudEvents' extension `dataref`).

Only what the headers say is read here. Which URLs may be fetched is `backends.references`' affair.
"""

import re

import msgspec

from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import Headers

MAX_URL_CHARACTERS = 8192
# RFC 3986's own characters: any other must be percent-encoded.
_NO_URL = re.compile(r"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]")
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")


class Reference(msgspec.Struct, frozen=True, gc=False):
    """Where a body lies, and what it must hash to."""

    url: str
    sha256: str | None = None
    """In lower case; None where the record does not say."""


def read_reference(headers: Headers) -> Reference | None:
    """Return where the headers say that the body lies; None where they do not.

    Raises InvalidRecordError for a value that is no URL, or no hash.
    """
    url = _value(headers, names.DATAREF)
    if url is None:
        return None
    if problem := _problem_of(url):
        raise InvalidRecordError(names.DATAREF, f"{problem}, found {url[:64]!r}")
    given = _value(headers, names.DATAREF_HASH)
    if given is None:
        return Reference(url)
    found = _HASH.fullmatch(given)
    if found is None:
        problem = f"must be sha256: and 64 hexadecimal digits, found {given[:80]!r}"
        raise InvalidRecordError(names.DATAREF_HASH, problem)
    return Reference(url, found[1].lower())


def reference_headers(url: str, sha256: str) -> list[tuple[str, bytes | None]]:
    """Return the headers that say where a body lies, and what it hashes to."""
    return [(names.DATAREF, url.encode()), (names.DATAREF_HASH, f"sha256:{sha256}".encode())]


def _problem_of(url: str) -> str:
    """Return why this is no URL, without looking at its parts; empty where it may be one."""
    if not url:
        return "must be a URL"
    if len(url) > MAX_URL_CHARACTERS:
        return f"must be a URL of at most {MAX_URL_CHARACTERS} characters, has {len(url)}"
    if wrong := _NO_URL.search(url):
        return f"must be a URL with the character {wrong[0]!r} percent-encoded"
    return ""


def _value(headers: Headers, name: str) -> str | None:
    values = {value or b"" for found, value in headers if found == name}
    if len(values) > 1:
        raise InvalidRecordError(name, "is there twice, with different values")
    return next((value.decode(errors="replace") for value in values), None)
