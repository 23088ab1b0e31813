"""A servable that looks keys up in a table (TF Serving: servables/hashmap).

It is the smallest kind that is useful, and shows what every kind consists of: its options, a
servable that predicts on columns, and `make_adapter`, which turns paths into loaders of servables.
"""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation, main_ram
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.hashmap.table_file import READERS
from topicserve.servables.kinds.options import KindOptions, read_options
from topicserve.servables.kinds.predict_checks import unknown_signature
from topicserve.servables.kinds.servable import Columns, Signature, TensorSpec
from topicserve.servables.sources.directory_size import directory_bytes

if TYPE_CHECKING:
    from topicserve.servables.kinds.registry import KindContext

_logger = logging.getLogger(__name__)

_MAX_SHOWN_KEYS, _MAX_SHOWN_CHARACTERS = 5, 64
# A dict of bytes takes so much more than its lines in the file (measured on short ones).
RAM_PER_BYTE_ON_DISK = 9

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "string": np.dtype(object),
    "int64": np.dtype(np.int64),
    "float32": np.dtype(np.float32),
}


class HashmapOptions(KindOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which file of a version holds the table, and what is in it."""

    file: str = ""
    """Its name in the version's directory; by default hashmap.csv or hashmap.jsonl."""
    format: Literal["csv", "json_lines"] = "csv"
    """Lines of key,value with CSV's quotes, or objects {"key": ..., "value": ...}."""
    keys: Literal["string", "int64"] = "string"
    values: Literal["string", "int64", "float32"] = "string"
    default: str | int | float | None = None
    """What a key that is not in the table has for a value; without it, that is an error."""

    def __post_init__(self) -> None:
        if self.default is not None:
            _cast(self.default, self.values)


class Hashmap:
    """A loaded table. Its one signature takes `key` and gives `value`, one a row."""

    returns_new_arrays = True

    def __init__(self, table: Mapping[Any, Any], options: HashmapOptions) -> None:
        self._table = table
        self._default = None if options.default is None else _cast(options.default, options.values)
        self._value_dtype = _DTYPES[options.values]
        signature = Signature(
            inputs={"key": TensorSpec(_DTYPES[options.keys], ())},
            outputs={"value": TensorSpec(self._value_dtype, ())},
            rows_are_independent=True,
        )
        self.signatures = {"serving_default": signature}

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        """Return the values of the keys, or InvalidArgumentError naming one that has none."""
        if signature_name not in self.signatures:
            raise unknown_signature(signature_name, self.signatures)
        keys = inputs["key"].tolist()
        values = [self._table.get(key, self._default) for key in keys]
        if self._default is None and None in values:
            raise InvalidArgumentError(f"the table has no key {keys[values.index(None)]!r}")
        return {"value": np.fromiter(values, self._value_dtype, len(values))}


def load_hashmap(path: str, options: HashmapOptions) -> Hashmap:
    """Read the table of a version; every error names the file and the line.

    Of lines with the same key the first one counts, as in TF Serving; one warning is logged.
    """
    file = _file(path, options)
    table: dict[Any, Any] = {}
    repeats = 0
    shown: list[str] = []
    for line, key, value in READERS[options.format](file):
        try:
            found, content = _cast(key, options.keys), _cast(value, options.values)
        except (ValueError, OverflowError) as error:
            raise InvalidArgumentError(f"{file}, line {line}: {error}") from None
        if found not in table:
            table[found] = content
            continue
        repeats += 1
        if len(shown) < _MAX_SHOWN_KEYS:
            shown.append(f"{_shown(found)} (line {line})")
    if repeats:
        _logger.warning(
            "%s: %d lines have the key of an earlier line, which counts; the first ones: %s",
            file,
            repeats,
            ", ".join(shown),
        )
    return Hashmap(table, options)


def make_adapter(
    options: Mapping[str, object],
    context: "KindContext",  # noqa: ARG001 - what every kind is given
) -> SourceAdapter[StoragePath, Loader]:
    """Return what turns paths into loaders of tables; InvalidArgumentError for bad options."""
    settings = read_options(HashmapOptions, options, "hashmap")

    def estimate(path: StoragePath) -> ResourceAllocation:
        return main_ram(RAM_PER_BYTE_ON_DISK * directory_bytes(_file(path, settings)))

    return SimpleLoaderSourceAdapter(lambda path: load_hashmap(path, settings), estimate)


def _shown(key: object) -> str:
    text = repr(key)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}..."


def _file(path: str, options: HashmapOptions) -> str:
    if os.path.isfile(path):
        return path
    suffix = "csv" if options.format == "csv" else "jsonl"
    return os.path.join(path, options.file or f"hashmap.{suffix}")


def _cast(text: str | int | float, kind: str) -> bytes | int | float:
    if kind == "string":
        return str(text).encode()
    if kind == "float32":
        return float(text)
    number: int = np.int64(int(text)).item()  # OverflowError where it does not fit
    return number
