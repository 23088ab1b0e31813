"""Values as JSON as TensorFlow Serving's REST API has them: arrays as lists, bytes as b64."""

import base64
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np
import orjson

from topicserve.producer.rows.times import has_times, time_texts
from topicserve.wire.errors import InvalidRecordError

# How orjson's errors begin for what `_native` makes writable.
_NOT_NATIVE = (
    "numpy array is not native-endianness",
    "Dict key must be str",
    "unrepresentable numpy.datetime64",
)
# How orjson writes numpy's times: to microseconds, and NaT as a date of the year 1677.
_TIME = re.compile(rb'-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?"')
NO_VALUE = "is None, which no tensor can hold; use NaN for a missing number"
DATA_FRAME_REMEDY = (
    'is a DataFrame; give instances=frame.to_dict("records") or inputs=frame.to_dict("list")'
)


def json_bytes(tree: Any, field: str) -> bytes:
    """Return the tree as JSON, or raise InvalidRecordError that names the field.

    Not-a-number and infinity become null.
    """
    try:
        try:
            written = _dumps(tree)
        except TypeError as error:  # JSONEncodeError is one
            if not str(error).startswith(_NOT_NATIVE):
                raise
            return _dumps(_native(tree))
        if b"T" in written and _TIME.search(written) and has_times(tree):
            return _dumps(_native(tree))
        return written
    except (TypeError, ValueError, RecursionError) as error:
        problem = error.__cause__ or error  # the cause is of `_other`, and says more
        raise InvalidRecordError(field, f"cannot be written as JSON: {problem}") from None


def _dumps(tree: Any) -> bytes:
    return orjson.dumps(tree, default=_other, option=orjson.OPT_SERIALIZE_NUMPY)


def json_body(form: str, content: Any) -> bytes:
    """Return a body of that form, with the tokens NaN and Infinity where such numbers are.

    Raises InvalidRecordError that names the place of what is None: no tensor holds it.
    """
    body = json_bytes({form: content}, form)
    if b"null" not in body:
        return body
    plain = _plain_tree(content, form)
    for place, leaf in _leaves(plain, form):
        if leaf is None:
            raise InvalidRecordError(place, NO_VALUE)
    return json.dumps({form: plain}, ensure_ascii=False, separators=(",", ":")).encode()


def json_object(content: Mapping[str, Any], field: str) -> bytes:
    """Return a JSON object, or raise InvalidRecordError that names the place of what is no JSON."""
    encoded = json_bytes(dict(content), field)
    if b"null" in encoded:
        for place, leaf in _leaves(_plain_tree(content, field), field):
            if isinstance(leaf, float) and not math.isfinite(leaf):
                raise InvalidRecordError(place, f"is {leaf!r}, which JSON lacks; give None instead")
    return encoded


def listed(value: Any) -> Any:
    """Return an array, a column of a data frame or any other iterable as a list.

    Raises TypeError for what is none.
    """
    if type(value).__name__ == "DataFrame":
        raise TypeError(DATA_FRAME_REMEDY)
    if hasattr(value, "tolist"):  # numpy, pandas, torch
        return value.tolist()
    if hasattr(value, "__array__"):
        return np.asarray(value).tolist()
    # A set has no order in which its rows could be answered.
    if isinstance(value, Iterable) and not isinstance(value, (str, set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not among numbers, text, bytes, lists and arrays")


def _other(value: Any) -> Any:
    """Return what stands in JSON for a value that orjson does not know."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, date):  # of a subclass, like pandas' own
        return value.isoformat() if value == value else None  # NaT is no time
    if isinstance(value, (np.ndarray, np.generic)):
        _refuse_without_json(value.dtype)
    return listed(value)


def _refuse_without_json(dtype: np.dtype[Any]) -> None:
    """Raise TypeError for arrays of which `tolist` makes something else than their values."""
    if dtype.kind == "m":
        raise TypeError(f"{dtype} is a duration; give a number, such as its seconds")
    if dtype.kind == "f" and dtype.itemsize > np.dtype(np.float64).itemsize:
        raise TypeError(f"{dtype} has no form in JSON; give float64")


def _native(node: Any) -> Any:
    """Return a tree with arrays in this machine's byte order, plain text as keys, times as text.

    Files in a byte order of their own (IDX, FITS) and numpy's text give others.
    """
    if isinstance(node, (np.ndarray, np.generic)) and node.dtype.kind == "M":
        return time_texts(np.asarray(node))
    if isinstance(node, Mapping):
        return {
            str.__str__(name) if isinstance(name, str) else name: _native(item)
            for name, item in node.items()
        }
    if isinstance(node, np.ndarray) and node.dtype.kind in "iufb":
        return node.astype(node.dtype.newbyteorder("="), copy=False)
    if isinstance(node, (list, tuple)):
        return [_native(item) for item in node]
    if hasattr(node, "tolist") and not isinstance(node, np.generic):
        return _native(node.tolist())
    _refuse_read_once(node)
    return node


def _refuse_read_once(node: Any) -> None:
    """Raise TypeError for what was written once and has nothing left to write again."""
    if isinstance(node, Iterator):
        raise TypeError(f"{type(node).__name__} can be read once only; give a list")


def _plain_tree(tree: Any, field: str) -> Any:
    try:
        return _plain(tree)
    except TypeError as error:
        raise InvalidRecordError(field, f"cannot be written as JSON: {error}") from None


def _plain(node: Any) -> Any:
    """Return a tree that orjson has written as one of JSON's own kinds, numbers as they are."""
    if node is None or isinstance(node, (str, int, float)):
        return node
    if isinstance(node, (list, tuple)):
        return [_plain(item) for item in node]
    if isinstance(node, Mapping):
        return {name: _plain(item) for name, item in node.items()}
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return {f.name: _plain(getattr(node, f.name)) for f in dataclasses.fields(node)}
    if isinstance(node, (np.ndarray, np.generic)):
        is_time = node.dtype.kind == "M"
        return time_texts(np.asarray(node)) if is_time else _plain(node.tolist())
    _refuse_read_once(node)
    try:
        return orjson.loads(orjson.dumps(node))  # dates, UUIDs, enumerations
    except TypeError:
        return _plain(_other(node))


def _leaves(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield what is neither a list nor an object, and where."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _leaves(item, f"{place}[{index}]")
    elif isinstance(node, dict):
        for name, item in node.items():
            yield from _leaves(item, f"{place}.{name}")
    else:
        yield place, node
