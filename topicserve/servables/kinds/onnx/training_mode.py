"""Tells whether an ONNX file was exported in training mode.

ModelProto.graph 7, functions 25 -> GraphProto.node 1, initializer 5; FunctionProto.node 7
-> NodeProto.input 1, output 2, op_type 4, attribute 5, domain 7
-> AttributeProto.t 5, g 6, graphs 11
-> TensorProto.int32_data 5, name 8, raw_data 9
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from topicserve.servables.kinds.onnx.file_fields import fields, inside, read_model

_OWN_DOMAINS = (b"", b"ai.onnx")


class TrainingMode(NamedTuple):
    """Which operators a file has in training mode."""

    has_batch_normalization: bool
    """Its running mean and variance are written by each call: answers depend on earlier records."""
    has_dropout: bool
    """Its answers are random."""


def read_training_mode(file: str) -> TrainingMode:
    """Look at all graphs of a file; DataLossError where it is no protobuf message."""
    return read_model(file, _look)


class _Node(NamedTuple):
    operator: bytes
    inputs: list[memoryview]
    outputs: list[memoryview]
    attributes: list[memoryview]


class _Graph:
    """A graph or a function, with the one that it is in, whose values it sees."""

    def __init__(self, message: memoryview, node_field: int, outer: "_Graph | None") -> None:
        self._message = message
        self._node_field = node_field
        self.outer = outer

    def nodes(self) -> Iterator[_Node]:
        """Yield its operations."""
        return map(_node, inside(self._message, self._node_field))

    def is_true(self, name: bytes) -> bool:
        """Return whether a value is a constant that is true; an input is the sender's choice."""
        graph: _Graph | None = self
        while graph is not None:
            if name in graph.true_constants:
                return True
            graph = graph.outer
        return False

    @cached_property
    def true_constants(self) -> frozenset[bytes]:
        """The names of its own constants that are true, found once."""
        initializers = inside(self._message, 5) if self._node_field == 1 else ()
        names = [
            bytes(name)
            for tensor in initializers
            if _holds_true(tensor)
            for name in inside(tensor, 8)
        ]
        for node in self.nodes():
            if node.operator == b"Constant":
                tensors = (one for each in node.attributes for one in inside(each, 5))
                names += map(bytes, node.outputs) if any(map(_holds_true, tensors)) else ()
        return frozenset(names)


def _look(model: memoryview) -> TrainingMode:
    has_batch_normalization = has_dropout = False
    # A list and no recursion: graphs may be nested as deep as a file likes.
    graphs = [_Graph(one, 1, None) for one in inside(model, 7)]
    graphs += [_Graph(one, 7, None) for one in inside(model, 25)]
    while graphs:
        graph = graphs.pop()
        for node in graph.nodes():
            for attribute in node.attributes:
                inner = [one for number, one in fields(attribute) if number in (6, 11)]
                graphs += [_Graph(one, 1, graph) for one in inner]
            # It has outputs for mean and variance in training alone, in every opset.
            if node.operator == b"BatchNormalization" and len(node.outputs) > 1:
                has_batch_normalization = True
            elif node.operator == b"Dropout" and len(node.inputs) > 2:
                has_dropout = has_dropout or graph.is_true(bytes(node.inputs[2]))
    return TrainingMode(has_batch_normalization, has_dropout)


def _node(message: memoryview) -> _Node:
    node = _Node(b"", [], [], [])
    operator = domain = b""
    for number, content in fields(message):
        if number == 1:
            node.inputs.append(content)
        elif number == 2:
            node.outputs.append(content)
        elif number == 4:
            operator = bytes(content)
        elif number == 5:
            node.attributes.append(content)
        elif number == 7:
            domain = bytes(content)
    return node._replace(operator=operator if domain in _OWN_DOMAINS else b"")


def _holds_true(tensor: memoryview) -> bool:
    """Return whether this is one boolean that is true; weights are not looked through."""
    return any(
        len(content) == 1 and any(content) for number, content in fields(tensor) if number in (5, 9)
    )
