"""SavedModels with variables that are saved without values: some fail every call, most do not."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.servables.kinds.saved_model.exports import signature

tf1 = tf.compat.v1


class KerasInModule(tf.Module):  # type: ignore[misc]
    """Calls a Keras network, whose variables TensorFlow does not track: they have no values.

    Functions: `reading` reads them, `branch` in a branch that is not taken, `assigning` after it
    has assigned them, and `other` not at all.
    """

    def __init__(self) -> None:
        super().__init__()
        network = tf.keras.Sequential(
            [tf.keras.Input((4,)), tf.keras.layers.Dense(2), tf.keras.layers.Dense(4)]
        )
        self.network = network
        kernel = network.weights[0].value

        def branch(x: Any) -> Any:
            return tf.cond(tf.shape(x)[0] < 0, lambda: network(x), lambda: x + 1)

        def assigning(x: Any) -> Any:
            kernel.assign(tf.ones_like(kernel))
            return x + tf.reduce_sum(kernel)

        self.functions = {
            "reading": _answering(network),
            "branch": _answering(branch),
            "assigning": _answering(assigning),
            "other": _answering(lambda x: x + 1),
        }


def _answering(function: Callable[[Any], Any]) -> Any:
    x = tf.TensorSpec([None, 4], tf.float32, "x")
    return tf.function(lambda x: {"y": function(x)}, input_signature=[x])


def export_keras_in_module(path: Path, *names: str) -> str:
    """Write these signatures of KerasInModule, the first of them as the default one."""
    module = KerasInModule()
    chosen = {name: module.functions[name] for name in names[1:]}
    chosen["serving_default"] = module.functions[names[0]]
    tf.saved_model.save(module, str(path), signatures=chosen)
    return str(path)


def old_local_variables() -> Mapping[str, Any]:
    """Build the same as an old TF 1 does: variables by reference, branches by switches."""
    tf1.disable_control_flow_v2()
    try:
        return local_variables(use_resource=False)
    finally:
        tf1.enable_control_flow_v2()


def local_variables(*, use_resource: bool = True) -> Mapping[str, Any]:
    """Build signatures around local variables, which are never saved: all give x + 1.

    `assigned` assigns before it reads, `lazy` where it has no value yet, `branch` reads in a branch
    that is not taken, `serving_default` not at all. `reading` reads, and so fails.
    """
    x = tf1.placeholder(tf.float32, [None], "x")

    def variable(name: str) -> Any:
        return tf1.get_local_variable(name, initializer=tf.constant(1.0), use_resource=use_resource)

    reading, assigned, lazy, branch = map(variable, ["reading", "assigned", "lazy", "branch"])
    with tf1.control_dependencies([assigned.assign(1.0)]):
        after_assigning = x + assigned.read_value()
    value = tf1.cond(
        tf1.is_variable_initialized(lazy), lazy.read_value, lambda: tf1.identity(lazy.assign(1.0))
    )
    untaken = tf1.cond(tf1.shape(x)[0] < 0, lambda: x + branch.read_value(), lambda: x + 1)
    outputs = {
        "serving_default": x + 1,
        "assigned": after_assigning,
        "lazy": x + value,
        "branch": untaken,
        "reading": x + reading.read_value(),
    }
    return {name: signature({"x": x}, {"y": y}) for name, y in outputs.items()}
