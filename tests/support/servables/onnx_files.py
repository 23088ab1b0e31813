"""ONNX files made in a test, whole versions of them included."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.support.servables.models import Network
from topicserve.servables.sources.completeness import MANIFEST

Shape = Sequence[int | str | None] | None
FLOAT = TensorProto.FLOAT


def value(name: str, shape: Shape, dtype: int = FLOAT) -> Any:
    """Return an input or output; without a shape its rank is unknown."""
    return helper.make_tensor_value_info(name, dtype, shape)


def string(name: str) -> Any:
    """Return an input or output of one string a row."""
    return value(name, ["batch"], TensorProto.STRING)


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    """Return one operation."""
    return helper.make_node(operator, inputs, outputs, **attributes)


def model(
    nodes: Iterable[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Mapping[str, NDArray[Any]] | None = None,
    opset: int = 20,
) -> Any:
    """Return a model of these operations."""
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def echoes(**shapes: Shape) -> Any:
    """Return a model that gives each float input `a` back as `a_out`, declared likewise."""
    return model(
        [node("Identity", [name], [f"{name}_out"]) for name in shapes],
        [value(name, shape) for name, shape in shapes.items()],
        [value(f"{name}_out", shape) for name, shape in shapes.items()],
    )


def save(made: Any, directory: Path, file: str = "model.onnx", **external: Any) -> str:
    """Write a model into a version's directory, and return that directory."""
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(made, directory / file, **external)
    return str(directory)


def network_model(network: Network) -> Any:
    """Return a network as a model from `x` to `probabilities`, with the batch named `batch`."""
    weights: dict[str, NDArray[Any]] = {}
    nodes, last = [], "x"
    layers = network.weights()
    for number, (kernel, bias) in enumerate(layers):
        weights |= {f"kernel{number}": kernel, f"bias{number}": bias}
        nodes.append(node("Gemm", [last, f"kernel{number}", f"bias{number}"], [f"sum{number}"]))
        last = f"sum{number}"
        if number < len(layers) - 1:
            nodes.append(node("Relu", [last], [f"relu{number}"]))
            last = f"relu{number}"
    nodes.append(node("Softmax", [last], ["probabilities"], axis=-1))
    sizes = network.layers
    return model(
        nodes,
        [value("x", ["batch", sizes[0]])],
        [value("probabilities", ["batch", sizes[-1]])],
        weights,
    )


def write_network(base_path: Path, version: int, network: Network) -> None:
    """Write a network as a version."""
    write_version(base_path, version, network_model(network))


def write_version(base_path: Path, version: int, made: Any) -> None:
    """Write a model as a version that its manifest shows to be complete at the first look."""
    unfinished = base_path.parent / f".{base_path.name}-{version}"
    content = made.SerializeToString()
    unfinished.mkdir(parents=True)
    (unfinished / "model.onnx").write_bytes(content)
    (unfinished / MANIFEST).write_text(f"{hashlib.sha256(content).hexdigest()}  model.onnx\n")
    base_path.mkdir(exist_ok=True)
    unfinished.rename(base_path / str(version))


def some_rows(*shape: int) -> NDArray[np.float32]:
    """Return numbers, the same each time."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
