"""What goes into an output is told from the graph, through state and TF 1 conditions, too."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.servables.kinds.saved_model import exports
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel
from topicserve.servables.kinds.servable import Scope

tf1 = tf.compat.v1
ROWS = tf.TensorSpec([None, 2], tf.float32, name="x")
# A constant output; one that follows from the rows, and is for the call; one a row.
CALL, BATCH, ROW, UNKNOWN = Scope.CALL, Scope.BATCH, Scope.ROW, Scope.UNKNOWN


def _after(write: Any, read: Any) -> Any:
    with tf1.control_dependencies([write]):
        return read()


def through_state() -> Mapping[str, Any]:
    """Build TF 1 signatures whose outputs go through state, or beside it."""
    x = tf1.placeholder(tf.float32, [None, 2], "x")
    total, text = tf1.reduce_sum(x), tf1.as_string(tf1.reduce_sum(x))
    outputs: dict[str, Any] = {}

    for kind in (False, True):
        name = "resource" if kind else "reference"
        variable = tf1.get_variable(f"{name}_var", [], initializer=None, use_resource=kind)
        outputs[f"{name} variable"] = _after(tf1.assign(variable, total), variable.read_value)
        added = tf1.get_variable(f"{name}_added", [], use_resource=kind)
        outputs[f"{name} counter"] = _after(tf1.assign_add(added, 1.0), added.read_value)
        unwritten = tf1.get_variable(f"{name}_constant", [3], use_resource=kind)
        tf1.assign(unwritten, x[0, 0] + tf1.zeros([3]), name=f"{name}_training")  # not run
        outputs[f"{name} constant"] = unwritten + 0.0

    queue = tf1.FIFOQueue(10, [tf.float32], [[]])
    outputs["queue"] = _after(queue.enqueue(total), queue.dequeue)
    rows = tf1.FIFOQueue(10, [tf.float32])
    outputs["rows in a queue"] = _after(rows.enqueue(x), rows.dequeue)
    outputs["rows in a queue"].set_shape([None, 2])
    area = tf1.raw_ops.Stage(values=[total], shared_name="area")
    outputs["staged"] = _after(
        area, lambda: tf1.raw_ops.Unstage(dtypes=[tf.float32], shared_name="area")[0]
    )
    outputs["staged"].set_shape([])

    table = tf1.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)
    key = tf1.constant("k")
    outputs["table"] = _after(table.insert(key[None], total[None]), lambda: table.lookup(key))
    twin = [
        tf1.raw_ops.MutableHashTableV2(
            key_dtype=tf.string, value_dtype=tf.float32, shared_name="twin"
        )
        for _ in range(2)
    ]
    outputs["table of a name"] = _after(
        tf1.raw_ops.LookupTableInsertV2(table_handle=twin[0], keys=[text], values=[total]),
        lambda: tf1.raw_ops.LookupTableSizeV2(table_handle=twin[1]),
    )

    array = tf1.TensorArray(tf.float32, 1).write(0, total)
    outputs["array"] = array.read(0)
    outputs["array of constants"] = tf1.TensorArray(tf.float32, 1).write(0, 7.0).read(0)
    outputs["mapped rows"] = tf1.map_fn(lambda row: row * 2, x)
    stack = tf1.raw_ops.StackV2(max_size=4, elem_type=tf.float32)
    push = tf1.raw_ops.StackPushV2(handle=stack, elem=total)
    outputs["stack"] = _after(
        push, lambda: tf1.raw_ops.StackPopV2(handle=stack, elem_type=tf.float32)
    )
    outputs["stack"].set_shape([])

    one = tf1.cond(total > 0, lambda: tf1.constant(1.0), lambda: tf1.constant(-1.0))
    outputs["condition on rows"] = one
    outputs["condition on a constant"] = tf1.cond(
        tf1.equal(unwritten[0], 1.0), lambda: tf1.constant(1.0), lambda: tf1.constant(-1.0)
    )
    steps = tf1.while_loop(lambda i: i < total, lambda i: i + 1, [tf1.constant(0.0)])
    outputs["loop over rows"] = steps
    return {
        name: exports.signature({"x": x}, {"y": x * 2, "out": output})
        for name, output in outputs.items()
    }


@pytest.fixture(scope="module")
def model(directory: Path) -> Iterator[SavedModel]:
    """Yield the TF 1 signatures, loaded; TensorFlow 1's control flow is not on by default."""
    was_on = tf1.control_flow_v2_enabled()
    tf1.disable_control_flow_v2()
    try:
        path = exports.export_tf1(directory / "through_state", through_state)
    finally:
        if was_on:
            tf1.enable_control_flow_v2()
    loaded = SavedModel.load(path, SavedModelOptions())
    yield loaded
    loaded.close()


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("reference variable", BATCH),
        ("resource variable", BATCH),
        ("reference counter", BATCH),
        ("resource counter", BATCH),
        ("reference constant", CALL),
        ("resource constant", CALL),
        ("queue", BATCH),
        ("rows in a queue", UNKNOWN),
        ("staged", BATCH),
        ("table", BATCH),
        ("table of a name", BATCH),
        ("array", BATCH),
        ("array of constants", CALL),
        ("mapped rows", ROW),
        ("stack", BATCH),
        ("condition on rows", BATCH),
        ("condition on a constant", CALL),
        ("loop over rows", BATCH),
    ],
)
def test_state_of_tf_1(model: SavedModel, name: str, scope: Scope) -> None:
    """Only what no row goes into is constant, and what a call writes may be another call's."""
    signature = model.signatures[name]

    assert signature.outputs["out"].scope is scope
    assert signature.outputs["y"].scope is ROW
    assert signature.joins_records is (scope in (CALL, ROW))


class Stateful(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Functions that write to variables and tables, and others that read them."""

    def __init__(self) -> None:
        super().__init__()
        self.last = tf.Variable(0.0)
        self.row = tf.Variable(tf.zeros([1, 2]), shape=tf.TensorShape([None, 2]))
        self.count = tf.Variable(0.0)
        self.names = tf.Variable(["a", "b", "c"])
        self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)

    @tf.function  # type: ignore[untyped-decorator]
    def write(self, x: Any) -> Any:
        self.last.assign(tf.reduce_sum(x))
        return tf.constant(3.0)

    @tf.function  # type: ignore[untyped-decorator]
    def read(self) -> Any:
        return self.last.read_value(), tf.identity(self.names)

    @tf.function(input_signature=[ROWS])  # type: ignore[untyped-decorator]
    def functions(self, x: Any) -> Any:
        three = self.write(x)
        last, names = self.read()
        return {"y": x, "last": last, "names": names, "three": three}

    @tf.function(input_signature=[ROWS])  # type: ignore[untyped-decorator]
    def branches(self, x: Any) -> Any:
        def keep() -> Any:
            self.last.assign(tf.reduce_sum(x))
            return 1.0

        tf.cond(tf.reduce_any(x > 0), keep, lambda: 0.0)
        return {"y": x, "last": self.last.read_value(), "names": tf.identity(self.names)}

    @tf.function(input_signature=[ROWS])  # type: ignore[untyped-decorator]
    def counted(self, x: Any) -> Any:
        return {"y": x * 2, "last": self.count.assign_add(1.0), "names": tf.identity(self.names)}

    @tf.function(input_signature=[ROWS])  # type: ignore[untyped-decorator]
    def tabled(self, x: Any) -> Any:
        self.table.insert(tf.constant(["k"]), tf.reduce_sum(x)[None])
        last = self.table.lookup(tf.constant("k"))
        return {"y": x, "last": last, "names": tf.identity(self.names)}

    @tf.function(input_signature=[ROWS])  # type: ignore[untyped-decorator]
    def remembered(self, x: Any) -> Any:
        self.row.assign(x)
        return {"y": x, "last": self.row.read_value(), "names": tf.identity(self.names)}


@pytest.fixture(scope="module")
def stateful_path(directory: Path) -> str:
    """Return a TF 2 export."""
    module, path = Stateful(), str(directory / "stateful")
    names = ["functions", "branches", "counted", "tabled", "remembered"]
    tf.saved_model.save(module, path, signatures={name: getattr(module, name) for name in names})
    return path


@pytest.fixture(scope="module")
def stateful(stateful_path: str) -> Iterator[SavedModel]:
    """Yield it loaded."""
    loaded = SavedModel.load(stateful_path, SavedModelOptions())
    yield loaded
    loaded.close()


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("functions", BATCH),
        ("branches", BATCH),
        ("counted", BATCH),
        ("tabled", BATCH),
        ("remembered", UNKNOWN),
    ],
)
def test_state_of_tf_2(stateful: SavedModel, name: str, scope: Scope) -> None:
    """Whichever function writes, and whichever reads; other outputs are as they were."""
    outputs = stateful.signatures[name].outputs
    others = {"y": ROW, "names": CALL, "three": CALL}

    assert outputs["last"].scope is scope
    assert {n: one.scope for n, one in outputs.items() if n != "last"} == {
        n: others[n] for n in outputs if n != "last"
    }
    assert not stateful.signatures[name].joins_records
    assert stateful.signatures[name].with_outputs(["y", "names"]).joins_records


def test_a_vouched_for_model_shares_calls(stateful_path: str) -> None:
    """Its owner knows what the state is for."""
    loaded = SavedModel.load(stateful_path, SavedModelOptions(batch_records=True))
    signatures = loaded.signatures
    loaded.close()

    assert all(signature.joins_records for signature in signatures.values())


def test_what_was_written_is_the_records_own(stateful: SavedModel, model: SavedModel) -> None:
    """Each call for one record returns its own sum."""
    for n in (1.0, 2.0):
        x = np.full((1, 2), n, np.float32)
        assert stateful.predict({"x": x}, "functions")["last"] == 2 * n
        assert model.predict({"x": x}, "queue")["out"] == 2 * n
