r"""Reads what was typed in the environment or in a flag as the type of its key.

A text that is not of that type stays a text, and the conversion that follows refuses it.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec.inspect as types

from topicserve.worker.config.faults import (
    inner_type,
    is_secret,
    item_key,
    join,
    shown,
    without_none,
)
from topicserve.worker.config.schema import ConfigError
from topicserve.worker.config.types import DOTTED

_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_SEPARATOR = re.compile(r"(?<!\\),")


class Text(NamedTuple):
    """A value typed in the environment or in a flag: read as the type that its key has."""

    text: str
    source: str
    """The variable's or flag's name, for errors."""


def as_typed(kind: types.Type, value: object, key: str) -> object:
    """Return a value in which each Text is what its key's type reads in it."""
    if isinstance(kind, types.Metadata) and kind.extra == DOTTED:
        return dict(_joined(value)) if isinstance(value, Mapping) else _plain(kind.type, value)
    kind = without_none(kind)
    if isinstance(value, Mapping):
        return {
            name: as_typed(inner_type(kind, name), item, join(key, str(name)))
            for name, item in value.items()
        }
    if isinstance(kind, types.VarTupleType):
        value = _items(value, key)
    # A Text is a tuple too.
    if isinstance(value, (list, tuple)) and not isinstance(value, Text):
        item_type = kind.item_type if isinstance(kind, types.VarTupleType) else types.AnyType()
        return [
            as_typed(item_type, item, item_key(key, index, item))
            for index, item in enumerate(value)
        ]
    return _plain(kind, value)


def split_list(value: Text) -> list[Text]:
    r"""Return the items of a list in one text: commas separate them, `\,` is a comma in one."""
    parts = (part.replace("\\,", ",").strip() for part in _SEPARATOR.split(value.text))
    return [Text(part, value.source) for part in parts if part]


def literal(text: str) -> object:
    """Return true, false and numbers as such, where no type says what a text should be."""
    if text in ("true", "false"):
        return text == "true"
    # Only what comes out as it went in, so that neither "007" nor "1e5" loses anything.
    for kind in (int, float):
        if len(text) <= 19 and _same(kind, text):
            return kind(text)
    return text


def _same(kind: type[int] | type[float], text: str) -> bool:
    try:
        return str(kind(text)) == text and math.isfinite(float(text))
    except ValueError:
        return False


def _items(value: object, key: str) -> object:
    """Return the items of a list that was typed, or of a single text."""
    if isinstance(value, Text):
        if value.text.startswith("[") and value.text.endswith("]"):
            raise ConfigError(
                key, f"must be written as a,b without brackets, found {shown(value.text, key)}"
            )
        return split_list(value)
    return [value] if isinstance(value, str) else value


def _joined(settings: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield Kafka's settings by their whole names, however they were quoted."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{rest}", found) for rest, found in _joined(value))
        elif isinstance(value, Text):
            yield name, value.text if is_secret(name) else literal(value.text)
        else:
            yield name, value


def _plain(kind: types.Type, value: object) -> object:
    """Return what a text says as the type wanted, or the text itself."""
    if not isinstance(value, Text):
        return value
    match kind:
        case types.AnyType():
            return literal(value.text)
        case types.BoolType():
            return {"true": True, "false": False}.get(value.text.lower(), value.text)
        case types.IntType():
            return int(value.text) if _WHOLE_NUMBER.fullmatch(value.text) else value.text
        case types.FloatType():
            return _number(value.text)
        case _:
            return value.text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
