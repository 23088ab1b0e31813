"""Finds the features that a graph parses its tf.Examples into.

They stand in the parsing operations that the examples' tensor leads to: names, types, shapes, and
which have a default. A graph that parses in a function (as TF 2 does), or something else than
tf.Examples, shows nothing of this.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from topicserve.protos.tensors import to_dtype
from topicserve.servables.kinds.saved_model.graph.graph_search import ancestors
from topicserve.servables.kinds.saved_model.runtime import tf
from topicserve.servables.kinds.servable import FeatureSpec

Features = dict[str, FeatureSpec]

_PARSE_OPERATIONS = ("ParseExample", "ParseExampleV2")
# What may lie between the placeholder and the parsing.
_PASS_THROUGH = ("Identity", "PlaceholderWithDefault", "StopGradient")


def find_features(graph: tf.Graph, tensor_name: str, output_names: Sequence[str]) -> Features:
    """Return the features that the outputs are computed from; none if they cannot be seen."""
    features: Features = {}
    needed = ancestors(graph, output_names)
    for operation in _parse_operations(graph.get_tensor_by_name(tensor_name)):
        if operation.name in needed:
            _merge(features, _parsed_features(operation))
    return dict(sorted(features.items()))


def _parse_operations(serialized: Any) -> Iterator[Any]:
    seen, waiting = set(), [serialized]
    while waiting:
        tensor = waiting.pop()
        for operation in tensor.consumers():
            if operation.name in seen:
                continue
            seen.add(operation.name)
            if operation.type in _PARSE_OPERATIONS:
                yield operation
            elif operation.type in _PASS_THROUGH:
                waiting.extend(operation.outputs)


def _merge(features: Features, more: Features) -> None:
    """Add what another operation parses; a feature is required if either says so."""
    for name, spec in more.items():
        if name not in features or spec.is_required:
            features[name] = spec


def _parsed_features(operation: Any) -> Features:
    features = {}
    dense = zip(
        _keys(operation, "dense"),
        operation.get_attr("Tdense"),
        operation.get_attr("dense_shapes"),
        _dense_defaults(operation),
        strict=True,
    )
    for key, kind, declared, default in dense:
        shape = _shape(declared)
        features[key] = FeatureSpec(_dtype(kind), shape, _is_required(shape, default))
    for key, kind in _listed(operation, "sparse", "sparse_types"):
        features[key] = FeatureSpec(_dtype(kind), (None,))
    if operation.type == "ParseExampleV2":
        for key, kind in _listed(operation, "ragged", "ragged_value_types"):
            features[key] = FeatureSpec(_dtype(kind), (None,))
    return features


def _listed(operation: Any, kind: str, types: str) -> Iterator[tuple[str, Any]]:
    return zip(_keys(operation, kind), operation.get_attr(types), strict=True)


def _is_required(shape: tuple[int | None, ...] | None, default: Any) -> bool:
    """Return whether the operation refuses an example without the feature.

    An empty default says so. Of a variable length, a feature may be missing whatever the default.
    """
    is_variable = shape is None or None in shape[:1]
    return not is_variable and default is not None and np.size(default) == 0


def _dense_defaults(operation: Any) -> list[Any]:
    """Return the defaults, None for one that is computed."""
    count = len(operation.get_attr("Tdense"))
    return [tf.get_static_value(one) for one in list(operation.inputs)[-count:]] if count else []


def _keys(operation: Any, kind: str) -> list[str]:
    """Return the features' names: one tensor of them in version 2, before one tensor each."""
    if operation.type == "ParseExampleV2":
        position = {"sparse": 2, "dense": 3, "ragged": 4}[kind]
        return [key.decode() for key in tf.get_static_value(operation.inputs[position]).tolist()]
    sparse, dense = operation.get_attr("Nsparse"), operation.get_attr("Ndense")
    start, count = (2, sparse) if kind == "sparse" else (2 + sparse, dense)
    keys = operation.inputs[start : start + count]
    return [tf.get_static_value(key).item().decode() for key in keys]


def _dtype(kind: Any) -> np.dtype[Any]:
    return to_dtype(tf.as_dtype(kind).as_datatype_enum)


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    dims = tf.TensorShape(shape)
    return None if dims.rank is None else tuple(dims.as_list())
