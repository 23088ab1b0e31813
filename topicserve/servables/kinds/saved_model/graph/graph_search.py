"""Walks a graph."""

from collections.abc import Sequence
from typing import Any


def ancestors(graph: Any, tensor_names: Sequence[str]) -> set[str]:
    """Return the names of all operations that the tensors need, control inputs included."""
    waiting = [graph.get_tensor_by_name(name).op for name in tensor_names]
    found = {operation.name for operation in waiting}
    while waiting:
        operation = waiting.pop()
        before = [tensor.op for tensor in operation.inputs]
        for needed in [*before, *operation.control_inputs]:
            if needed.name not in found:
                found.add(needed.name)
                waiting.append(needed)
    return found
