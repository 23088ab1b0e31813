"""Lines of a JSON Lines file as records: the keys of `topicserve.Record`, one record a line."""

import codecs
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any

from topicserve.producer.record import STORED_ELSEWHERE, Record
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.json_codec.bytes import too_deep
from topicserve.wire.json_codec.text import load_json
from topicserve.wire.limits import DEFAULT_LIMITS, shortened
from topicserve.wire.rfc3339 import read_time

MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_PASSED_BYTES = 1024 * 1024 * 1024

KEYS = (
    "id",
    "instance",
    "instances",
    "inputs",
    "metadata",
    "key",
    "servable",
    "version",
    "label",
    "signature_name",
    "deadline",
    "traceparent",
    "tracestate",
)


def numbered_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1.

    One that is longer than 64 MiB comes cut, which no longer is JSON; its rest is passed over. One
    that has 1 GiB is no line of any file: OSError says so, where a stream might never end.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if content.strip():
            yield number, content
        passed = 0
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
            passed += len(line)
            if passed > MAX_PASSED_BYTES:
                raise OSError(0, "no line end within 1 GiB; is it JSON Lines?")


def read_record(line: bytes, *, metadata_elsewhere: bool = False) -> Record:
    """Return the record that a line describes, or raise InvalidRecordError naming the key at fault.

    A line without metadata declares that there is none, or, with `metadata_elsewhere`, that
    someone else has stored it.
    """
    try:
        body = load_json(line)
    except RecursionError:
        raise too_deep("line", DEFAULT_LIMITS.max_nesting_depth) from None
    except ValueError as error:
        raise InvalidRecordError("line", f"is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidRecordError("line", "must be a JSON object")
    unknown = next((key for key in body if key not in KEYS), None)
    if unknown is not None:
        raise InvalidRecordError(shortened(unknown), f"is not among {', '.join(KEYS)}")
    return Record(
        instance=body.get("instance"),
        instances=body.get("instances"),
        inputs=body.get("inputs"),
        metadata=body.get("metadata", STORED_ELSEWHERE if metadata_elsewhere else None),
        record_id=_text(body, "id"),
        key=_text(body, "key"),
        servable=_text(body, "servable"),
        version=_version(body),
        label=_text(body, "label"),
        signature_name=_text(body, "signature_name"),
        deadline=_deadline(body),
        traceparent=_text(body, "traceparent"),
        tracestate=_text(body, "tracestate"),
    )


def _text(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidRecordError(key, "must be a string")
    return value


def _version(body: dict[str, Any]) -> int | None:
    value = body.get("version")
    if value is not None and type(value) is not int:
        raise InvalidRecordError("version", "must be a whole number")
    return value


def _deadline(body: dict[str, Any]) -> datetime | None:
    text = _text(body, "deadline")
    try:
        return None if text is None else read_time(text)
    except ValueError:
        raise InvalidRecordError("deadline", "must be RFC 3339 with an offset from UTC") from None
