"""Reads one value of the configuration as the type of its key, or says what is wrong with it."""

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from types import NoneType
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from topicserve.worker.config.flags import FLAG_BY_KEY
from topicserve.worker.config.schema import DOTTED, ConfigError, Limit

T = TypeVar("T")

_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_SEPARATOR = re.compile(r"(?<!\\),")
_MAX_SHOWN = 64
_SECRET = re.compile(
    r"redis_url|kafka\.\w*settings|bootstrap|password|secret|token|credential|jaas|sasl|(?:^|[._])key(?!_prefix)",
    re.IGNORECASE,
)
_SCALARS: dict[type, tuple[str, tuple[type, ...]]] = {
    str: ("a string", (str,)),
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
}


class Text(NamedTuple):
    """A value typed in the environment or in a flag: read as whatever its key's type asks for."""

    text: str
    source: str
    """The variable's or flag's name, for errors."""


def read_table(cls: type[T], table: object, key: str, **given: object) -> T:
    """Return a dataclass filled from a table; fields in `given` are not looked for in it."""
    hints = get_type_hints(cls, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in given}  # type: ignore[arg-type]
    content = require_table(table, key)
    refuse_unknown(content, [*fields, *(given if not key else ())], key)
    values = dict(given)
    for name, one in fields.items():
        if name in content:
            values[name] = read_value(hints[name], content[name], join(key, name))
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            if dataclasses.is_dataclass(hints[name]):
                read_table(hints[name], {}, join(key, name))  # says what is missing in it
            raise missing(join(key, name))
    return cls(**values)


def read_value(hint: Any, value: object, key: str) -> Any:
    """Return a value as the type given, or raise ConfigError naming the key."""
    if get_origin(hint) is Annotated:
        base, note = get_args(hint)
        if note is DOTTED:
            return dict(_flat(require_table(value, key), key))
        return _within(note, read_value(base, value, key), value, key)
    if NoneType in get_args(hint):
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
        return read_value(hint, value, key)
    if get_origin(hint) is tuple:
        return tuple(_items(get_args(hint)[0], value, key))
    if get_origin(hint) is Mapping:
        item = get_args(hint)[1]
        content = require_table(value, key)
        return {name: read_value(item, found, join(key, name)) for name, found in content.items()}
    if dataclasses.is_dataclass(hint):
        return read_table(hint, value, key)  # type: ignore[arg-type]
    return _scalar(hint, value, key)


def require_table(value: object, key: str) -> Mapping[str, object]:
    """Return a table, or raise ConfigError naming the key that should be one."""
    if isinstance(value, Mapping):
        return value
    raise not_a_table(key, value)


def not_a_table(key: str, value: object) -> ConfigError:
    """Return the error for a value where a table must be; a table's text may hold passwords."""
    where = f", found a text (from {value.source})" if isinstance(value, Text) else ""
    return ConfigError(key, f"must be a table{where}")


def refuse_unknown(table: Mapping[str, object], known: Iterable[str], key: str) -> None:
    """Raise ConfigError for a key that is not known, with the one that was probably meant."""
    names = list(known)
    for name in table:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {join(key, close[0])}?" if close else f"known: {_list(names)}"
            raise ConfigError(join(key, name), f"is not a key; {hint}")


def missing(key: str, remedy: str = "") -> ConfigError:
    """Return the error for a key that must be given."""
    variable = "TOPICSERVE_" + key.upper().replace(".", "__")
    flag = f", with {FLAG_BY_KEY[key]}" if key in FLAG_BY_KEY else ""
    return ConfigError(key, f"is missing; {remedy or f'set it in the file{flag} or in {variable}'}")


def join(key: str, name: str) -> str:
    """Return the dotted key of a name in a table; the file itself has an empty key."""
    return f"{key}.{name}" if key else name


def is_secret(key: str) -> bool:
    """Return whether what is under a key may hold a password."""
    return _SECRET.search(key) is not None


def shown(value: object, key: str = "") -> str:
    """Return what was found, short enough for a message, and where it was said.

    Of tables and lists only that it is one: a password may be in them. So it may under some keys.
    """
    where = f" (from {value.source})" if isinstance(value, Text) else ""
    found = value.text if isinstance(value, Text) else value
    if isinstance(found, Mapping):
        return "a table"
    if isinstance(found, (list, tuple)):
        return "a list"
    if is_secret(key):
        return f"something that is not shown{where}"
    return f"{_cut(repr(found))}{where}"


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


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def _flat(table: Mapping[str, object], key: str) -> Iterable[tuple[str, object]]:
    """Yield Kafka's settings by their whole names, however they were quoted."""
    for name, value in table.items():
        inner = join(key, name)
        if isinstance(value, Mapping):
            yield from ((f"{name}.{rest}", found) for rest, found in _flat(value, inner))
        elif isinstance(value, Text):
            yield name, value.text if is_secret(name) else literal(value.text)
        elif isinstance(value, (str, bool, int, float)):
            yield name, value
        else:
            raise ConfigError(
                inner, f"must be a string, a number, true or false, found {shown(value, inner)}"
            )


def _within(limit: Limit, number: float, value: object, key: str) -> float:
    low, high, above = limit
    if number < low or (above and number == low):
        raise ConfigError(
            key, f"must be {'above' if above else 'at least'} {low}, found {shown(value, key)}"
        )
    if number > high:
        raise ConfigError(key, f"must be at most {high}, found {shown(value, key)}")
    return number


def _items(hint: Any, value: object, key: str) -> Iterable[Any]:
    if isinstance(value, Text):
        if value.text.startswith("[") and value.text.endswith("]"):
            raise ConfigError(
                key, f"must be written as a,b without brackets, found {shown(value, key)}"
            )
        value = split_list(value)
    elif isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise ConfigError(key, f"must be a list, found {shown(value, key)}")
    return [read_value(hint, item, f"{key}[{index}]") for index, item in enumerate(value)]


def split_list(value: Text) -> list[Text]:
    r"""Return the items of a list in one text: commas separate them, `\,` is a comma in one."""
    parts = (part.replace("\\,", ",").strip() for part in _SEPARATOR.split(value.text))
    return [Text(part, value.source) for part in parts if part]


def _scalar(kind: Any, value: object, key: str) -> Any:
    if kind is object:
        return literal(value.text) if isinstance(value, Text) else value
    if issubclass(kind, Enum):
        return _choice(kind, value, key)
    wanted, types = _SCALARS[kind]
    plain = _typed(kind, value.text) if isinstance(value, Text) else value
    # Python's True is a number too; in a configuration that is a slip.
    if isinstance(plain, types) and isinstance(plain, bool) == (kind is bool):
        if kind is not float:
            return plain
        if math.isfinite(number := _float(plain)):
            return number
    raise ConfigError(key, f"must be {wanted}, found {shown(value, key)}")


def _float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _typed(kind: type, text: str) -> object:
    """Return a text as the kind wanted, None where it is none."""
    if kind is str:
        return text
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    if kind is int:
        return int(text) if _WHOLE_NUMBER.fullmatch(text) else None
    try:
        return float(text)
    except ValueError:
        return None


def _choice(kind: type[Enum], value: object, key: str) -> Enum:
    plain = value.text if isinstance(value, Text) else value
    for member in kind:
        if member.value == plain:
            return member
    choices = " or ".join(repr(member.value) for member in kind)
    raise ConfigError(key, f"must be {choices}, found {shown(value, key)}")
