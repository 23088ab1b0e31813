"""Names the keys that a configuration's types refuse, in the words of its documentation.

msgspec converts a whole configuration at once and says no more than the first fault, in JSON's
terms. Where it refuses one, `faults` finds each key at fault and says what to write there.
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec.inspect as types

from topicserve.redact import redact_address
from topicserve.worker.config.flags import FLAG_BY_KEY
from topicserve.worker.config.schema import ConfigError

_MAX_SHOWN = 64
_SECRET = re.compile(
    r"redis_url|kafka\.\w*settings|bootstrap|password|secret|token|credential|jaas|sasl|(?:^|[._])key(?!_prefix)",
    re.IGNORECASE,
)
_WORDS: dict[type[types.Type], str] = {
    types.StrType: "a string",
    types.FloatType: "a number",
    types.BoolType: "true or false",
    types.VarTupleType: "a list",
    types.DictType: "a table",
    types.StructType: "a table",
}
_PYTHON: dict[type[types.Type], tuple[type, ...]] = {
    types.StrType: (str,),
    types.BoolType: (bool,),
    types.IntType: (int,),
    types.FloatType: (int, float),
}


def faults(kind: types.Type, value: object, key: str) -> Iterator[ConfigError]:
    """Yield an error for each key whose value is not of the type, in the order of the tables."""
    if value is None and _may_be_none(kind):
        return
    match kind := without_none(kind):
        case types.StructType() | types.DictType():
            yield from _faults_of_table(kind, value, key)
        case types.VarTupleType() if isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                yield from faults(kind.item_type, item, item_key(key, index, item))
        case _ if (problem := _problem(kind, value)) is not None:
            yield ConfigError(key, f"must be {problem}, found {shown(value, key)}")


def _faults_of_table(
    kind: types.StructType | types.DictType, table: object, key: str
) -> Iterator[ConfigError]:
    if not isinstance(table, Mapping):
        yield not_a_table(key)
        return
    if isinstance(kind, types.DictType):
        for name, value in table.items():
            yield from faults(kind.value_type, value, join(key, str(name)))
        return
    yield from _unknown(table, [field.encode_name for field in kind.fields], key)
    for field in kind.fields:
        inner = join(key, field.encode_name)
        if field.encode_name in table:
            yield from faults(field.type, table[field.encode_name], inner)
        elif field.required:
            # Of a table that is missing, the key that is missing in it.
            nested = isinstance(field.type, types.StructType)
            yield from faults(field.type, {}, inner) if nested else (missing(inner),)


def _unknown(table: Mapping[object, object], known: list[str], key: str) -> Iterator[ConfigError]:
    """Yield an error for each key that is not known, with the one that was probably meant."""
    for name in table:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            near = f"did you mean {join(key, close[0])}?" if close else f"known: {_list(known)}"
            yield ConfigError(join(key, str(name)), f"is not a key; {near}")


def _problem(kind: types.Type, value: object) -> str | None:
    """Return what a value must be that it is not, None where there is nothing wrong."""
    match kind:
        case types.AnyType():
            return None
        case types.UnionType():
            fits = any(_problem(one, value) is None for one in kind.types)
            return None if fits else words(kind)
        case types.EnumType():
            return None if value in [member.value for member in kind.cls] else words(kind)
    # Python's True is a number too; in a configuration that is a slip.
    is_bool = isinstance(value, bool) == isinstance(kind, types.BoolType)
    if not (is_bool and isinstance(value, _PYTHON.get(type(kind), ()))):
        return words(kind)
    if isinstance(value, float) and not math.isfinite(value):
        return words(kind)
    if isinstance(kind, (types.IntType, types.FloatType)) and isinstance(value, (int, float)):
        return _bound(kind, value)
    return None


def _bound(kind: types.IntType | types.FloatType, number: float) -> str | None:
    """Return the bound that a number breaks."""
    if kind.gt is not None and number <= kind.gt:
        return f"above {kind.gt}"
    if kind.ge is not None and number < kind.ge:
        return f"at least {kind.ge}"
    if kind.le is not None and number > kind.le:
        return f"at most {kind.le}"
    return None


def words(kind: types.Type) -> str:
    """Return what a value of the type is called."""
    match kind:
        case types.EnumType():
            return " or ".join(repr(member.value) for member in kind.cls)
        case types.UnionType():
            parts = {type(one): words(one) for one in kind.types}
            if types.FloatType in parts:
                parts.pop(types.IntType, None)
            return ", ".join(parts.values())
        case types.IntType():
            return "a whole number"
        case _:
            return _WORDS.get(type(kind), "a value")


def without_none(kind: types.Type) -> types.Type:
    """Return the type of a key that may be absent."""
    if isinstance(kind, types.Metadata):
        return without_none(kind.type)
    if isinstance(kind, types.UnionType):
        others = [one for one in kind.types if not isinstance(one, types.NoneType)]
        return others[0] if len(others) == 1 else kind
    return kind


def _may_be_none(kind: types.Type) -> bool:
    return isinstance(kind, types.UnionType) and kind.includes_none


def inner_type(kind: types.Type, name: object) -> types.Type:
    """Return the type of a table's key, anything where it is not known."""
    if isinstance(kind, types.DictType):
        return kind.value_type
    fields = kind.fields if isinstance(kind, types.StructType) else ()
    return next((field.type for field in fields if field.encode_name == name), types.AnyType())


def not_a_table(key: str) -> ConfigError:
    """Return the error for a value where a table must be; it may hold passwords."""
    return ConfigError(key, "must be a table")


def missing(key: str, remedy: str = "") -> ConfigError:
    """Return the error for a key that must be given."""
    variable = "TOPICSERVE_" + key.upper().replace(".", "__")
    flag = f", with {FLAG_BY_KEY[key]}" if key in FLAG_BY_KEY else ""
    return ConfigError(key, f"is missing; {remedy or f'set it in the file{flag} or in {variable}'}")


def join(key: str, name: str) -> str:
    """Return the dotted key of a name in a table; the file itself has an empty key."""
    return f"{key}.{name}" if key else name


def item_key(key: str, index: int, item: object) -> str:
    """Return the key of a list's item: tables go by their name, as the environment names them."""
    if isinstance(item, Mapping) and "name" in item:
        return f"{key}.{item['name']}"
    return f"{key}[{index}]"


def is_secret(key: str) -> bool:
    """Return whether the value of a key may hold a password."""
    return _SECRET.search(key) is not None


def shown(value: object, key: str = "") -> str:
    """Return what was found, short enough for a message.

    Of tables and lists only that it is one: a password may be in them. So it may under some keys.
    """
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    if is_secret(key):
        return "something that is not shown"
    text = repr(redact_address(value) if isinstance(value, str) else value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
