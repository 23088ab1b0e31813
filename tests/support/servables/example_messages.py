"""tf.Examples of rows of features, made of protobuf's own messages: what must be written."""

from collections.abc import Mapping
from typing import Any

from topicserve.protos.example_pb2 import Example, Feature
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import FeatureSpec

_INTEGERS: frozenset[type] = frozenset({int, bool})
_NUMBERS: frozenset[type] = frozenset({int, float})
_TEXT: frozenset[type] = frozenset({str, bytes})


def example_message(row: Mapping[str, Any], features: Mapping[str, FeatureSpec]) -> Example:
    """Return a row's example; raises InvalidArgumentError that begins with the feature at fault."""
    example = Example()
    for name, spec in features.items():
        if spec.is_required and name not in row:
            raise InvalidArgumentError(f"feature {name!r}")
    for name, value in row.items():
        if features and name not in features:
            continue
        try:
            feature = example.features.feature[name]
            _fill(feature, _flat(value), features.get(name))
        except (ValueError, OverflowError, TypeError):
            raise InvalidArgumentError(f"feature {name!r}") from None
    return example


def _flat(value: Any) -> list[Any]:
    return [one for item in value for one in _flat(item)] if isinstance(value, list) else [value]


def _fill(feature: Feature, values: list[Any], spec: FeatureSpec | None) -> None:
    types = frozenset(map(type, values))
    if not values:
        return
    allowed = _allowed(types, spec)
    if not types <= allowed:
        raise TypeError
    if allowed is _TEXT:
        feature.bytes_list.value.extend(
            v if isinstance(v, bytes) else v.encode(errors="surrogatepass") for v in values
        )
    elif allowed is _INTEGERS:
        feature.int64_list.value.extend(map(int, values))
    else:
        feature.float_list.value.extend(values)


def _allowed(types: frozenset[type], spec: FeatureSpec | None) -> frozenset[type]:
    if spec is not None:
        if spec.dtype.hasobject:
            return _TEXT
        return _INTEGERS if spec.dtype.kind in "biu" else _NUMBERS
    return next((allowed for allowed in (_INTEGERS, _NUMBERS) if types <= allowed), _TEXT)
