"""SavedModels as people have them: assets, several graphs, tables, preprocessing layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

from tests.servables.kinds.saved_model.exports import export_tf1, half_plus_two, signature

tf1 = tf.compat.v1


def _vocabulary(path: Path) -> Path:
    """Write a file of tokens beside the model; it is gone when the model is loaded."""
    file = path.with_suffix(".txt")
    file.write_text("a\nb\n")
    return file


def _token_ids(file: Path) -> Mapping[str, Any]:
    asset = tf.constant(str(file))
    tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, asset)
    initializer = tf1.lookup.TextFileInitializer(
        asset,
        tf.string,
        tf1.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf1.lookup.TextFileIndex.LINE_NUMBER,
    )
    table = tf1.lookup.StaticVocabularyTable(initializer, 1)
    token = tf1.placeholder(tf.string, [None], "token")
    return {"serving_default": signature({"token": token}, {"id": table.lookup(token)})}


def assets(path: Path, initializer: str = "main_op") -> None:
    """Write a TF 1 export with a table that is filled from an asset."""
    file = _vocabulary(path)
    with tf1.Graph().as_default(), tf1.Session() as session:
        signatures = _token_ids(file)
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map=signatures,
            assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
            **{initializer: tf1.tables_initializer()},
        )
        builder.save()
    file.unlink()


def old_assets(path: Path) -> None:
    """Write the same as exports did before there was a main op."""
    assets(path, "legacy_init_op")


def several_graphs(path: Path) -> None:
    """Write graphs for training, for serving (y = 2x), and for serving on a GPU (y = 4x)."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        x, two = tf1.placeholder(tf.float32, [None], "x"), tf1.Variable(2.0)
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["train"])
        for tags, y in ((["serve"], x * two), (["serve", "gpu"], x * two * 2.0)):
            signatures = {"serving_default": signature({"x": x}, {"y": y})}
            builder.add_meta_graph(tags, signature_def_map=signatures)
        builder.save()


def partitioned(path: Path) -> None:
    """Write an embedding in three parts."""

    def build() -> Mapping[str, Any]:
        ids = tf1.placeholder(tf.int64, [None], "ids")
        parts = tf1.fixed_size_partitioner(3)
        ones = tf1.ones_initializer()
        weights = tf1.get_variable("weights", [10, 2], partitioner=parts, initializer=ones)
        return {
            "serving_default": signature({"ids": ids}, {"y": tf1.nn.embedding_lookup(weights, ids)})
        }

    export_tf1(path, build)


def text(path: Path) -> None:
    """Write a graph as text."""
    export_tf1(path, half_plus_two)
    binary = path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(binary.read_bytes())
    (path / "saved_model.pbtxt").write_text(text_format.MessageToString(model))
    binary.unlink()


class Tables(tf.Module):  # type: ignore[misc]
    """Looks tokens up in a table of an asset and in one that was filled by hand; counts its calls.

    `ragged` gives its words as a RaggedTensor, which no caller of TF Serving can take.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.asset = tf.saved_model.Asset(str(file))
        index = tf.lookup.TextFileIndex
        self.static = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                self.asset, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER
            ),
            -1,
        )
        self.mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 7)
        self.mutable.insert(tf.constant(["k"]), tf.constant([5], tf.int64))
        self.calls = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "token")])  # type: ignore[untyped-decorator]
    def look_up(self, token: Any) -> dict[str, Any]:
        self.calls.assign_add(1)
        static = self.static.lookup(token)
        return {
            "static": static,
            "mutable": self.mutable.lookup(token),
            "calls": tf.zeros_like(static) + self.calls,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "token")])  # type: ignore[untyped-decorator]
    def ragged(self, token: Any) -> dict[str, Any]:
        return {"words": tf.strings.split(token)}


def tables(path: Path) -> None:
    """Write Tables."""
    file = _vocabulary(path)
    module = Tables(file)
    signatures = {"serving_default": module.look_up, "ragged": module.ragged}
    tf.saved_model.save(module, str(path), signatures=signatures)
    file.unlink()


def preprocessing(path: Path) -> None:
    """Write a Keras model that takes text and numbers as they are."""
    text_input = tf.keras.Input((1,), dtype="string", name="text")
    number = tf.keras.Input((2,), name="number")
    tokens = tf.keras.layers.TextVectorization(output_sequence_length=3, vocabulary=["a", "b"])
    normalized = tf.keras.layers.Normalization(mean=1.0, variance=4.0)
    outputs = {"tokens": tokens(text_input), "normalized": normalized(number)}
    model = tf.keras.Model({"text": text_input, "number": number}, outputs)
    model.export(str(path), verbose=False)
