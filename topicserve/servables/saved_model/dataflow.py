"""What goes into a tensor: whether an output depends on what is fed, told from the graph.

An output for the whole call, such as class names, may go to all records of a batch only where no
row goes into it. The search goes against the flow of data, through the bodies of called functions.
What it cannot look into, loops and branches, counts as depending on all that goes in, and so does
a function that writes to a variable, a table or a queue: a row may come back out of it. Elsewhere
control edges carry no data, and variables count as constants.
"""

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_WRITES = ("Assign", "Enqueue", "Insert", "Import", "ScatterUpdate", "ScatterAdd", "Push")


class Dataflow:
    """Searches one graph; what it has found out of functions it keeps."""

    def __init__(self, graph_def: Any) -> None:
        self._graph_def = graph_def
        self._arguments: dict[tuple[str, int], frozenset[int]] = {}

    def depends(self, tensor: str, wanted: Collection[str], fed: Collection[str]) -> bool:
        """Return whether any of the `wanted` tensors goes into this one.

        The search ends at what is `fed`, since feeding replaces what would be computed.
        """
        goals, ends = {tensor_of(one) for one in wanted}, {tensor_of(one) for one in fed}
        seen, waiting = set(), [tensor_of(tensor)]
        while waiting:
            name, index = place = waiting.pop()
            if place in goals:
                return True
            if place in ends or place in seen:
                continue
            seen.add(place)
            node = self._nodes.get(name)
            if node is None:
                return True  # nothing is known of it
            waiting.extend(tensor_of(one) for one in self._sources(node, index))
        return False

    @cached_property
    def _nodes(self) -> dict[str, Any]:
        return {node.name: node for node in self._graph_def.node}

    @cached_property
    def _functions(self) -> dict[str, Any]:
        return {one.signature.name: one for one in self._graph_def.library.function}

    def _sources(self, node: Any, index: int) -> Iterator[str]:
        """Yield the inputs of a node that go into one of its outputs."""
        inputs = [name for name in node.input if not name.startswith("^")]
        function = node.attr["f"].func.name if node.op in _CALLS else node.op
        if function not in self._functions:
            yield from inputs
            return
        for argument in self._arguments_of(function, index):
            if argument < len(inputs):
                yield inputs[argument]

    def _arguments_of(self, function: str, index: int) -> frozenset[int]:
        """Return which arguments of a function go into its output of that number."""
        key = (function, index)
        if key not in self._arguments:
            # Where a function calls itself, each of its arguments may go into any output.
            body = self._functions[function]
            self._arguments[key] = frozenset(range(len(body.signature.input_arg)))
            self._arguments[key] = self._search(body, index)
        return self._arguments[key]

    def _search(self, body: Any, index: int) -> frozenset[int]:
        arguments = {arg.name: number for number, arg in enumerate(body.signature.input_arg)}
        nodes = {node.name: node for node in body.node_def}
        everything = frozenset(arguments.values())
        if index >= len(body.signature.output_arg) or self._writes(body.signature.name, set()):
            return everything
        found, seen = set(), set()
        waiting = [body.ret[body.signature.output_arg[index].name]]
        while waiting:
            reference = waiting.pop()
            if reference in seen:
                continue
            seen.add(reference)
            name, _, output = reference.partition(":")
            if name in arguments:
                found.add(arguments[name])
                continue
            node = nodes.get(name)
            if node is None:
                return everything
            waiting.extend(self._sources(node, self._output_number(node, output)))
        return frozenset(found)

    def _writes(self, function: str, seen: set[str]) -> bool:
        """Return whether a function, or one that it calls, writes to what outlives the call."""
        seen.add(function)
        for node in self._functions[function].node_def:
            if any(word in node.op for word in _WRITES):
                return True
            called = node.attr["f"].func.name if node.op in _CALLS else node.op
            if called in self._functions and called not in seen and self._writes(called, seen):
                return True
        return False

    def _output_number(self, node: Any, output: str) -> int:
        """Return the number of an output that a function's body names `argument:index`."""
        argument, _, index = output.partition(":")
        body = self._functions.get(node.op)
        names = [] if body is None else [arg.name for arg in body.signature.output_arg]
        return names.index(argument) if argument in names else int(index or 0)


def tensor_of(reference: str) -> tuple[str, int]:
    """Return a tensor's node and output number; "x" means "x:0"."""
    name, _, index = reference.partition(":")
    return name, int(index or 0)
