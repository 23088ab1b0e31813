"""Reads the JSON file in a version's directory that says what the servable is."""

import os
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import TensorSpec
from topicserve.servables.sources.regular_files import read_regular_file

MAX_FILE_BYTES = 16 * 1024 * 1024
"""More than anybody writes by hand, less than hurts to read."""

# fmt: off
DtypeName = Literal[
    "string", "bool", "float16", "float32", "float64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
]
# fmt: on

T = TypeVar("T")


class TensorSpecJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TensorSpec as JSON has it: the shape of a row, null where a dimension is unknown."""

    dtype: DtypeName
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)] | None, ...] | None = None

    def read(self) -> TensorSpec:
        """Return what it says."""
        return TensorSpec(dtype_of(self.dtype), self.shape)


def dtype_of(name: str) -> np.dtype[Any]:
    """Return the dtype of a name; strings are objects."""
    return np.dtype(object if name == "string" else name)


def read_json_file(path: str, name: str, content_type: type[T]) -> T:
    """Return the content of the file `name` in the directory `path`, or of the file `path`.

    Raises NotFoundError or InvalidArgumentError, which name the file and the place in it.
    """
    file = path if os.path.isfile(path) else os.path.join(path, name)
    text = read_regular_file(file, MAX_FILE_BYTES)
    try:
        return msgspec.json.decode(text, type=content_type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgumentError(f"{file}: {error}") from None
