"""Values as JSON as TensorFlow Serving's REST API has them: arrays as lists, bytes as b64."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from topicserve.wire.errors import InvalidRecordError


def json_bytes(tree: Any, field: str) -> bytes:
    """Return the tree as JSON, or raise InvalidRecordError that names the field.

    Not-a-number and infinity become null.
    """
    try:
        return orjson.dumps(tree, default=_other, option=orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, ValueError, RecursionError) as error:  # JSONEncodeError is a TypeError
        raise InvalidRecordError(field, f"cannot be written as JSON: {error}") from None


def _other(value: Any) -> Any:
    """Return what stands in JSON for a value that orjson does not know."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()  # strings, objects, and arrays that are not contiguous
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not among numbers, text, bytes, lists and arrays")
