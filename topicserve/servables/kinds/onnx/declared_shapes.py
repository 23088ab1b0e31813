"""Tells which inputs and outputs of an ONNX file have a declared shape.

ONNX Runtime shows a tensor of unknown rank as it shows a scalar: with no dimensions. The file tells
them apart:

    ModelProto.graph 7 -> GraphProto.input 11, output 12 -> ValueInfoProto.name 1, type 2
    -> TypeProto.tensor_type 1 -> Tensor.shape 2
"""

from collections.abc import Iterator

from topicserve.servables.kinds.onnx.file_fields import inside, read_model


def names_with_shape(file: str) -> frozenset[str]:
    """Return the names; DataLossError where the file is no protobuf message."""
    return read_model(file, lambda model: frozenset(_names(model)))


def _names(model: memoryview) -> Iterator[str]:
    for graph in inside(model, 7):
        for value in (*inside(graph, 11), *inside(graph, 12)):
            has_shape = any(
                True
                for kind in inside(value, 2)
                for tensor in inside(kind, 1)
                for _ in inside(tensor, 2)
            )
            if has_shape:
                yield from (str(bytes(name), "utf-8") for name in inside(value, 1))
