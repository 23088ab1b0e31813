"""Rows of features become serialized tf.Examples, as TF Serving's classify and regress build them.

A row has what it has: a feature with a default or of variable length may be left out, lists may
differ in length from row to row, one value stands for a list of it, and a feature that the graph
does not parse is ignored. A boolean is 1 or 0 for a feature of integers, and only there. What a
feature must hold is the graph's to judge. (TF Serving: util/json_tensor.cc, AddValueToFeature and
MakeExampleFromJsonObject.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.protos.example_pb2 import Example, Feature
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import Columns, FeatureSpec, Signature

Array = NDArray[Any]
Features = Mapping[str, FeatureSpec]

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_TEXT = frozenset({str, bytes})
_INTEGERS = frozenset({int, bool})
_NUMBERS = frozenset({int, float})


def examples_of_rows(rows: Sequence[Any], signature: Signature) -> Columns:
    """Return the signature's only column: a serialized tf.Example a row.

    A row is an object of features, or a tf.Example serialized already (bytes), which goes through
    as it is, also under the input's own name. Raises InvalidArgumentError naming the feature.
    """
    return _examples(rows, len(rows), signature)


def _examples(rows: Iterable[Any], count: int, signature: Signature) -> Columns:
    (input_name,) = signature.inputs
    features = signature.features or {}
    required = frozenset(name for name, spec in features.items() if spec.is_required)
    examples = np.empty(count, object)
    for index, row in enumerate(rows):
        serialized = _serialized(row, input_name, features)
        if serialized is None:
            _check_required(row, required)
            serialized = _example(row, features).SerializeToString()
        examples[index] = serialized
    return {input_name: examples}


def examples_of_columns(columns: Mapping[str, Any], signature: Signature) -> Columns:
    """Return the same for columns by feature: lists or arrays with one item a row."""
    (input_name,) = signature.inputs
    if _names_input(columns, input_name, signature.features or {}):
        return examples_of_rows(_items(input_name, columns[input_name]), signature)
    used = {
        name: _items(name, column)
        for name, column in columns.items()
        if not signature.features or name in signature.features
    }
    counts = {name: len(items) for name, items in used.items()}
    if not used or len(set(counts.values())) != 1:
        wanted = ", ".join(map(repr, signature.features or ())) or f"its examples, {input_name!r}"
        raise InvalidArgumentError(
            f"features differ in their number of rows: {counts}"
            if used
            else f"there is none of the features {wanted}"
        )
    # One at a time: a dict takes far more memory than the text of its row.
    rows = (dict(zip(used, items, strict=True)) for items in zip(*used.values(), strict=True))
    return _examples(rows, next(iter(counts.values())), signature)


def _serialized(row: Any, input_name: str, features: Features) -> bytes | None:
    """Return a row that is a tf.Example already, None where it is an object of features."""
    if isinstance(row, Mapping):
        if not _names_input(row, input_name, features):
            return None
        row = row[input_name]
        if not isinstance(row, bytes | str):
            return None
    if isinstance(row, bytes):
        return row
    if isinstance(row, str):
        return row.encode(errors="surrogatepass")
    raise InvalidArgumentError(
        "each row must be an object of features, or one serialized tf.Example; "
        f"found {_describe(row)}"
    )


def _names_input(given: Mapping[str, Any], input_name: str, features: Features) -> bool:
    return input_name in given and len(given) == 1 and input_name not in features


def _items(name: str, column: Any) -> list[Any]:
    if isinstance(column, np.ndarray):
        column = column.tolist()
    if not isinstance(column, list):
        raise InvalidArgumentError(f"feature {name!r}: must be a list of rows")
    return column


def _check_required(row: Mapping[str, Any], required: frozenset[str]) -> None:
    missing = sorted(required - row.keys())
    if missing:
        names = ", ".join(map(repr, missing))
        raise InvalidArgumentError(f"feature {names} is missing, and the model has no default")


def _example(row: Mapping[str, Any], features: Features) -> Example:
    example = Example()
    made = example.features.feature
    for name, value in row.items():
        spec = features.get(name)
        if spec is None and features:
            continue  # not parsed
        values: list[Any] = []
        _flatten(value, values)
        try:
            feature = made[name]  # without values it is there and says nothing, as in TF Serving
        except UnicodeEncodeError:  # a lone surrogate: protobuf's names are UTF-8
            raise InvalidArgumentError(f"feature {name!r}: its name is not UTF-8") from None
        if values:
            _fill_of(spec, values)(name, feature, values)
    return example


def _flatten(value: Any, into: list[Any]) -> None:
    """Collect the values of nested lists in order: a feature is a flat list."""
    if not isinstance(value, list):
        into.append(value)
        return
    for item in value:
        if isinstance(item, list):
            _flatten(item, into)
        else:
            into.append(item)


_Fill = Callable[[str, Feature, list[Any]], None]


def _fill_of(spec: FeatureSpec | None, values: Sequence[Any]) -> _Fill:
    """Return what writes the values: as the graph parses them, or else as they are."""
    if spec is not None:
        if spec.dtype.hasobject:
            return _fill_bytes
        return _fill_integers if spec.dtype.kind in "biu" else _fill_floats
    kinds = set(map(type, values))
    if kinds <= _INTEGERS:
        return _fill_integers
    return _fill_floats if kinds <= _NUMBERS else _fill_bytes


def _fill_bytes(name: str, feature: Feature, values: list[Any]) -> None:
    _check(name, values, _TEXT, "strings")
    feature.bytes_list.value.extend(
        [
            value if isinstance(value, bytes) else value.encode(errors="surrogatepass")
            for value in values
        ]
    )


def _fill_integers(name: str, feature: Feature, values: list[Any]) -> None:
    _check(name, values, _INTEGERS, "integers")
    if min(values) < _INT64_MIN or max(values) > _INT64_MAX:
        raise _out_of_range(name, min(values) if min(values) < _INT64_MIN else max(values))
    feature.int64_list.value.extend(map(int, values))


def _fill_floats(name: str, feature: Feature, values: list[Any]) -> None:
    _check(name, values, _NUMBERS, "numbers")
    try:
        feature.float_list.value.extend(values)
    except OverflowError:  # an integer beyond float64
        raise InvalidArgumentError(f"feature {name!r}: a number does not fit float32") from None


def _check(name: str, values: list[Any], allowed: frozenset[type], what: str) -> None:
    if allowed.issuperset(map(type, values)):
        return
    odd = next(value for value in values if type(value) not in allowed)
    # The parser makes a float of an integer that no 64 bits hold.
    if allowed is _INTEGERS and type(odd) is float and odd.is_integer() and abs(odd) > _INT64_MAX:
        raise _out_of_range(name, odd)
    remedy = "; leave the feature out instead" if odd is None else ""
    raise InvalidArgumentError(f"feature {name!r}: must be {what}, found {_describe(odd)}{remedy}")


def _out_of_range(name: str, number: float) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"feature {name!r}: {number} is out of range for int64, which is from {_INT64_MIN} to "
        f"{_INT64_MAX}"
    )


def _describe(item: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", list: "a list"}
    names |= {str: "a string", bytes: "a string", dict: "an object"}
    return names.get(type(item), "null" if item is None else type(item).__name__)
