"""What a record holds in the forms that a person has it in: lists, arrays, columns, raw bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.backends.references.header import read_reference
from topicserve.producer.json_bytes import listed
from topicserve.producer.labels import refuse_labelled, refuse_labelled_rows
from topicserve.wire import header_names as names
from topicserve.wire.bodies.content_types import is_content_type, read_content_type
from topicserve.wire.errors import InvalidRecordError

BYTES, TEXT = "application/octet-stream", "text/plain; charset=utf-8"
_NO_ROWS = "must hold at least one row"


def instance_of(content: Any, form: str) -> Any:
    """Return one row as it is; raises InvalidRecordError where a list would lose its names."""
    refuse_labelled(content, form)
    return content


def rows_of(content: Any, form: str) -> Any:
    """Return rows as a list or an array; raises InvalidRecordError where there is none."""
    if isinstance(content, (str, bytes, bytearray, Mapping)):
        raise InvalidRecordError(form, f"must be a list of rows, found {type(content).__name__}")
    if not isinstance(content, (list, tuple, np.ndarray)):
        try:
            content = listed(content)
        except TypeError as error:
            raise InvalidRecordError(form, f"must be a list of rows: {error}") from None
    is_array = isinstance(content, np.ndarray) and content.ndim > 0
    if not is_array and not isinstance(content, (list, tuple)):
        raise InvalidRecordError(form, f"must be a list of rows, found {type(content).__name__}")
    if len(content) == 0:
        raise InvalidRecordError(form, _NO_ROWS)
    refuse_labelled_rows(content, form)
    return content


def inputs_of(content: Any, form: str) -> Any:
    """Return columns by input name, or the only input's rows.

    A column may be one value, which the signature must have declared for the call as a whole. A
    signature may have no input, or defaults for all, so there may be none.
    """
    if not isinstance(content, Mapping):
        return rows_of(content, form)
    columns = {}
    for name, column in content.items():
        is_value = isinstance(column, (str, bytes, bool, int, float, np.generic, Mapping))
        columns[name] = column if is_value else rows_of(column, f"{form}.{name}")
    return columns


def tensors_of(content: Any, form: str) -> dict[str, NDArray[Any]]:
    """Return arrays by input name, also none; lists of text, bytes or booleans will do."""
    if not isinstance(content, Mapping):
        found = type(content).__name__
        raise InvalidRecordError(form, f"must be arrays by input name (a mapping), found {found}")
    tensors = {}
    for name, value in content.items():
        tensors[str(name)] = array = _array_of(value, f"{form}.{name}")
        if array.ndim and len(array) == 0:
            raise InvalidRecordError(f"{form}.{name}", _NO_ROWS)
    return tensors


def reference_of(url: Any, sha256: Any) -> list[tuple[str, bytes]]:
    """Return the headers of a body that lies elsewhere; InvalidRecordError names the field."""
    for field, text in (("dataref", url), ("dataref_sha256", sha256)):
        if text is not None and not (isinstance(text, str) and text.isascii()):
            raise InvalidRecordError(field, f"must be text of ASCII characters, found {text!r:.64}")
    headers = [(names.DATAREF, url.encode())]
    if sha256 is not None:
        headers.append((names.DATAREF_HASH, f"sha256:{sha256}".encode()))
    read_reference(headers)
    return headers


def body_of(content: Any, content_type: Any) -> tuple[str, bytes]:
    """Return the content type and the value; InvalidRecordError names the field at fault.

    Text is sent in UTF-8.
    """
    is_text = isinstance(content, str)
    if not is_text and not isinstance(content, (bytes, bytearray, memoryview)):
        found = type(content).__name__
        raise InvalidRecordError("body", f"must be bytes or text, found {found}")
    if content_type is None:
        content_type = TEXT if is_text else BYTES
    if not isinstance(content_type, str) or not content_type.isprintable():
        raise InvalidRecordError("content_type", "must be text, such as image/png")
    found, parameters = read_content_type(content_type)
    if not is_content_type(found) or found.endswith("/*"):
        raise InvalidRecordError("content_type", f"must be such as image/png, found {found[:64]!r}")
    if not is_text:
        return content_type, bytes(content)
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise InvalidRecordError("content_type", "has a charset; give the text as bytes in it")
    try:
        return content_type, content.encode()
    except UnicodeEncodeError:
        raise InvalidRecordError("body", f"has no UTF-8: {content[:64]!a}") from None


def _array_of(value: Any, field: str) -> NDArray[Any]:
    if hasattr(value, "dtype") and hasattr(value, "__array__"):
        return np.asarray(value)
    try:
        array = np.asarray(value)
        if array.dtype.kind in "SU":
            # numpy cuts the zero bytes at the end of its own strings off.
            array = np.asarray(value, dtype=object)
    except (TypeError, ValueError) as error:
        raise InvalidRecordError(field, f"is no array: {error}") from None
    if array.dtype.kind in "iufc":
        raise InvalidRecordError(
            field, "has no definite dtype; give numpy.asarray(..., numpy.float32)"
        )
    return array
