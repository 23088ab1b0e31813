"""Small real SavedModels, exported as TF 1 and as TF 2 do it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1
Graph = Callable[[], Mapping[str, Any]]
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def export_tf1(path: Path, build: Graph, tags: tuple[str, ...] = ("serve",)) -> str:
    """Write what `build` makes in an empty graph: SignatureDefs by name."""
    config = tf1.ConfigProto(allow_soft_placement=True)
    with tf1.Graph().as_default(), tf1.Session(config=config) as session:
        signatures = build()
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            list(tags),
            signature_def_map=signatures,
            main_op=tf1.tables_initializer(),
            strip_default_attrs=True,
        )
        builder.save()
    return str(path)


def signature(inputs: Mapping[str, Any], outputs: Mapping[str, Any], method: str = PREDICT) -> Any:
    """Return the SignatureDef of tensors by name."""
    return tf1.saved_model.build_signature_def(
        {name: tf1.saved_model.build_tensor_info(tensor) for name, tensor in inputs.items()},
        {name: tf1.saved_model.build_tensor_info(tensor) for name, tensor in outputs.items()},
        method,
    )


def half_plus_two() -> Mapping[str, Any]:
    """Build TF Serving's own example: y = x / 2 + 2, by predict, regress and classify.

    Its examples have a float `x`, and a string list `words` of any length that is counted.
    """
    half, two = tf1.Variable(0.5), tf1.Variable(2.0)
    serialized = tf1.placeholder(tf.string, [None], "tf_example")
    parsed = tf1.parse_example(
        tf1.identity(serialized),
        {"x": tf1.FixedLenFeature([1], tf.float32), "words": tf1.VarLenFeature(tf.string)},
    )
    x = tf1.identity(parsed["x"])
    words = tf1.sparse_tensor_to_dense(parsed["words"], default_value="")
    y = x * half + two
    count = tf1.reduce_sum(tf1.cast(tf1.not_equal(words, ""), tf.float32), axis=1)
    scores = tf1.concat([y, count[:, None]], axis=1)
    table = tf1.lookup.StaticHashTable(
        tf1.lookup.KeyValueTensorInitializer(
            tf.constant([0, 1], tf.int64), tf.constant(["half", "words"])
        ),
        "?",
    )
    rows = tf1.zeros([tf1.shape(scores)[0], 1], tf.int64)
    classes = table.lookup(rows + tf.constant([[0, 1]], tf.int64))
    return {
        "serving_default": signature({"x": x}, {"y": y}),
        "regress": signature({"inputs": serialized}, {"outputs": y}, REGRESS),
        "classify": signature(
            {"inputs": serialized}, {"classes": classes, "scores": scores}, CLASSIFY
        ),
    }


def odd_signatures() -> Mapping[str, Any]:
    """Build signatures that are seldom met, but that TF Serving opens."""
    x = tf1.placeholder(tf.float32, [None, 2], "x")
    keep = tf1.placeholder(tf.float32, [], "keep")
    three = tf1.placeholder(tf.float32, [3, 2], "three")
    one = tf1.placeholder(tf.float32, [1, 2], "one")
    sparse = tf1.sparse_placeholder(tf.float32, name="sparse")
    total, plus_one = tf1.reduce_sum(x), x + 1
    serialized = tf1.placeholder(tf.string, [None], "serialized")
    return {
        "scalar_input": signature({"x": x, "a_keep_rate": keep}, {"y": x * keep}),
        "fixed_rows": signature({"x": three}, {"y": three * 2}),
        "one_row": signature({"x": one, "keep": keep}, {"y": one * keep}),
        "one_total": signature({"x": x}, {"total": total}),
        "two_names": signature({"x": x}, {"y": plus_one, "also_y": plus_one}),
        "sparse": signature({"x": sparse}, {"y": tf1.sparse_tensor_to_dense(sparse)}),
        "only_scalars": signature({"keep": keep}, {"y": keep * 2}),
        "unseen_parsing": signature(
            {"inputs": serialized}, {"outputs": tf1.ones_like(serialized, tf.float32)}, REGRESS
        ),
        "wide_regression": signature(
            {"inputs": serialized}, {"outputs": _wide(serialized)}, REGRESS
        ),
        "checked": signature({"x": x}, {"y": _checked(x)}),
    }


def _wide(serialized: Any) -> Any:
    return tf1.ones([tf1.shape(serialized)[0], 2])


def _checked(x: Any) -> Any:
    with tf1.control_dependencies([tf1.debugging.assert_non_negative(x, message="no negatives")]):
        return tf1.identity(x)


def other_parsings() -> Mapping[str, Any]:
    """Build regressions on examples that are parsed as old exports do it, and into ragged lists."""
    old = tf1.placeholder(tf.string, [None], "old")
    _, _, _, (x,) = tf.raw_ops.ParseExample(
        serialized=old,
        names=[],
        sparse_keys=["words"],
        dense_keys=["x"],
        dense_defaults=[tf.constant([7.0])],
        sparse_types=[tf.string],
        dense_shapes=[[1]],
    )
    ragged = tf1.placeholder(tf.string, [None], "ragged")
    numbers = tf.io.parse_example(ragged, {"numbers": tf.io.RaggedFeature(tf.int64)})["numbers"]
    total = tf1.cast(tf.reduce_sum(numbers, axis=1), tf.float32)
    return {
        "old": signature({"inputs": old}, {"outputs": x}, REGRESS),
        "ragged": signature({"inputs": ragged}, {"outputs": total}, REGRESS),
    }


def optional_features() -> Mapping[str, Any]:
    """Build a regression on examples whose `age` has a default and whose `words` are any number.

    It gives age + must + 1000 * words. Beside it, `two_parsings` adds `must` and a feature of
    another parsing of the same examples, and a third parsing serves no signature.
    """
    serialized = tf1.placeholder(tf.string, [None], "serialized")
    parsed = tf1.parse_example(
        serialized,
        {
            "age": tf1.FixedLenFeature([], tf.float32, default_value=40.0),
            "must": tf1.FixedLenFeature([], tf.float32),
            "words": tf1.VarLenFeature(tf.string),
        },
    )
    words = tf1.sparse_tensor_to_dense(parsed["words"], default_value="")
    count = tf1.reduce_sum(tf1.cast(tf1.not_equal(words, ""), tf.float32), axis=1)
    two = tf1.parse_example(serialized, {"two": tf1.FixedLenFeature([], tf.float32)})["two"]
    tf1.parse_example(serialized, {"unused": tf1.FixedLenFeature([], tf.float32)})
    total = parsed["age"] + parsed["must"] + 1000 * count
    return {
        "serving_default": signature({"inputs": serialized}, {"outputs": total}, REGRESS),
        "two_parsings": signature(
            {"inputs": serialized}, {"outputs": parsed["must"] + two}, REGRESS
        ),
    }


def export_defaults(path: Path) -> str:
    """Write a TF 2 export whose signatures have inputs with defaults: y = sum(x) + bias.

    `one` has a bias of one row, `three` of three rows, `scalar` one for the whole call. Of `all`
    both inputs have a default of one row, and of `none` there are no inputs.
    """
    x = tf.TensorSpec([None, 2], tf.float32, "x")

    def adding(default: Any, shape: list[int | None]) -> Any:
        value = tf.constant(default)

        def add(x: Any, bias: Any = value) -> dict[str, Any]:
            return {"y": tf.reduce_sum(x, 1) + bias}

        specs = [x, tf.TensorSpec(shape, tf.float32, "bias")]
        return tf.function(add, input_signature=specs)

    two, four = tf.constant([[1.0, 2.0]]), tf.constant(4.0)
    module = tf.Module()
    signatures = {
        "one": adding([7.0], [None]),
        "three": adding([7.0, 8.0, 9.0], [None]),
        "scalar": adding(7.0, []),
        "all": tf.function(
            lambda x=two, bias=four: {"y": tf.reduce_sum(x, 1) + bias},
            input_signature=[x, tf.TensorSpec([], tf.float32, "bias")],
        ),
        "none": tf.function(
            lambda: {"names": tf.constant(["a", "b"]), "pi": tf.constant(3.0)}, input_signature=[]
        ),
    }
    module.functions = list(signatures.values())
    tf.saved_model.save(module, str(path), signatures=signatures)
    return str(path)


def pinned_to_gpu() -> Mapping[str, Any]:
    """Build y = x + [1, 2] on a GPU."""
    x = tf1.placeholder(tf.float32, [None, 2], "x")
    with tf.device("/GPU:0"):
        y = x + tf1.Variable([1.0, 2.0])
    return {"serving_default": signature({"x": x}, {"y": y})}


def weights_in_graph() -> Mapping[str, Any]:
    """Build a frozen model: its 16 MB of weights are constants of the graph."""
    x = tf1.placeholder(tf.float32, [None, 2048], "x")
    weights = tf.constant(np.random.default_rng(0).random((2048, 2048), np.float32))
    return {"serving_default": signature({"x": x}, {"y": tf1.matmul(x, weights)})}


DTYPES = [
    *("float16", "bfloat16", "float32", "float64", "complex64", "bool", "string"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]


def export_echoes(path: Path) -> str:
    """Write a TF 2 export with a signature a dtype, which gives back what it takes.

    Its others: `unknown_rank`, `unknown_dimensions`, and `joined`, which takes two inputs.
    """
    module = tf.Module()
    signatures = {
        name: _tf2(lambda x: {"y": tf.identity(x)}, x=tf.TensorSpec([None, 2], name, "x"))
        for name in DTYPES
    }
    signatures["unknown_rank"] = _tf2(
        lambda x: {"y": tf.identity(x)}, x=tf.TensorSpec(None, tf.float32, "x")
    )
    signatures["unknown_dimensions"] = _tf2(
        lambda x: {"y": tf.reduce_sum(x, axis=[1, 2])},
        x=tf.TensorSpec([None, None, None], tf.float32, "x"),
    )
    signatures["joined"] = _tf2(
        lambda left, right: {
            "text": tf.strings.join([left, right]),
            "length": tf.ones_like(left, tf.int32),
        },
        left=tf.TensorSpec([None], tf.string, "left"),
        right=tf.TensorSpec([None], tf.string, "right"),
    )
    module.functions = list(signatures.values())
    tf.saved_model.save(module, str(path), signatures=signatures)
    return str(path)


def _tf2(function: Callable[..., Any], **specs: Any) -> Any:
    return tf.function(function).get_concrete_function(**specs)


def export_keras(path: Path) -> str:
    """Write what Keras's own export writes of a small network."""
    network = tf.keras.Sequential(
        [tf.keras.Input((4,)), tf.keras.layers.Dense(3, kernel_initializer="ones")]
    )
    network.export(str(path), verbose=False)
    return str(path)


def export_large(path: Path, side: int) -> str:
    """Write a TF 2 export with `side` x `side` float32 weights in a variable."""

    class Large(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.ones([side, side]))

        @tf.function(input_signature=[tf.TensorSpec([None, side], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: object) -> dict[str, object]:
            return {"y": tf.linalg.matmul(x, self.weights)}

    module = Large()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.__call__})
    return str(path)


def counting() -> Mapping[str, Any]:
    """Build a model that counts its calls: what `calls` gives for each of its rows.

    Signatures `serving_default` (x >= 0), `regress` and `classify` count; the last two count the
    examples too, and their words.
    """
    calls = tf1.Variable(0.0)
    x = tf1.placeholder(tf.float32, [None], "x")
    serialized = tf1.placeholder(tf.string, [None], "serialized")
    words = tf1.parse_example(serialized, {"word": tf1.FixedLenFeature([], tf.string)})["word"]
    with tf1.control_dependencies([tf1.debugging.assert_non_negative(x, message="no negatives")]):
        y = x + tf1.assign_add(calls, 1.0)
    with tf1.control_dependencies([tf1.assign_add(calls, 1.0)]):
        lengths = tf1.cast(tf1.strings.length(words), tf.float32)
        classes = tf1.identity(words)[:, None]
    row = tf1.placeholder(tf.float32, [None], "row")
    return {
        "serving_default": signature({"x": x}, {"y": y}),
        "regress": signature({"inputs": serialized}, {"outputs": lengths}, REGRESS),
        "classify": signature({"inputs": serialized}, {"classes": classes}, CLASSIFY),
        "calls": signature({"row": row}, {"calls": row * 0 + calls}),
    }


def scopes() -> Mapping[str, Any]:
    """Build signatures with inputs and outputs that are not one value a row."""
    x = tf1.placeholder(tf.float32, [None, 2], "x")
    y = x * 2
    keep = tf1.placeholder(tf.float32, None, "keep")
    phase = tf1.placeholder(tf.bool, None, "phase")
    scalar = tf1.placeholder(tf.int32, [], "scalar")
    text = tf1.placeholder(tf.string, [], "text")
    size = tf1.placeholder(tf.float32, [2], "size")
    vector = tf1.placeholder(tf.float32, [3], "vector")
    names = tf1.constant(["cat", "dog", "fox"])
    unshaped = tf1.placeholder_with_default(names, None)
    texts = tf1.strings.join([tf1.as_string(x[:, 0]), tf1.fill(tf1.shape(x)[:1], text)])
    fails = tf1.debugging.check_numerics(y / tf1.zeros_like(y), "never")
    return {
        "image": signature({"x": x, "size": size}, {"y": x * size}),
        "scalar": signature({"x": x, "n": scalar}, {"y": x * tf1.cast(scalar, tf.float32)}),
        "text": signature({"x": x, "text": text}, {"y": texts}),
        "untold": signature(
            {"x": x, "keep": keep, "phase": phase},
            {"y": tf1.cond(phase, lambda: x * 100.0, lambda: x / keep)},
        ),
        "names": signature({"x": x}, {"y": y, "names": names}),
        "titled": signature({"x": x}, {"y": y, "title": tf1.constant("one", name="title")}),
        "names_of_no_rank": signature({"x": x}, {"y": y, "names": unshaped}),
        "of_size": signature({"x": x, "size": size}, {"y": y, "double": size * 2}),
        "mean": signature({"x": x}, {"y": y, "mean": tf1.reduce_mean(x)}),
        "first": signature({"x": x}, {"y": y, "first": x[0] * 1.0}),
        "repeated": signature({"x": x}, {"y": tf1.concat([y, y], 0)}),
        "no_batch": signature({"v": vector}, {"double": vector * 2, "sum": tf1.reduce_sum(vector)}),
        "failing": signature({"x": x}, {"y": y, "fails": fails}),
        "complex": signature({"x": x}, {"y": y, "z": tf1.complex(x, x)}),
    }


def export_labels(path: Path) -> str:
    """Write a TF 2 export whose function, called by another one, gives class names beside scores.

    `looped` passes a number for the call through a loop, into which the search does not look.
    """

    class Labels(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.names = tf.Variable(["cat", "dog"], trainable=False)

        @tf.function  # type: ignore[untyped-decorator]
        def inner(self, x: Any) -> Any:
            return x + 1, tf.identity(self.names), tf.reduce_max(x)

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def labels(self, x: Any) -> Any:
            scores, names, _ = self.inner(x)
            return {"scores": scores, "names": names}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def most(self, x: Any) -> Any:
            scores, _, most = self.inner(x)
            return {"scores": scores, "most": most}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def looped(self, x: Any) -> Any:
            steps, _ = tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v), [0, x])
            return {"scores": x, "steps": steps}

    module = Labels()
    signatures = {"serving_default": module.labels, "most": module.most, "looped": module.looped}
    tf.saved_model.save(module, str(path), signatures=signatures)
    return str(path)
