"""What goes into a tensor: whether an output depends on what is fed, told from the graph.

An output for the whole call, such as class names, may go to all records of a batch only where no
row goes into it. The search goes against the flow of data, through the bodies of called functions.
What it cannot look into, loops and branches of TF 2, counts as depending on all that goes in.

Variables, tables and queues count as constants where the call does not write to them. Where it
does, what is written goes into what is read, whichever comes first: it may be another call's.
Control edges carry no data, except behind a TF 1 condition, whose branches hang on nothing else.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from topicserve.servables.kinds.saved_model.graph.state_ops import (
    OpDefs,
    StateOps,
    Use,
    called_function,
    ends_with_the_call,
    functions_of,
    is_handle,
    shares_by_name,
    state_name,
)

Leaves = Mapping[tuple[str, int], Any]
"""Where a search ends: what it finds, by its tensor."""

_MERGES = ("Merge", "RefMerge")


class Flow(NamedTuple):
    """What goes into a tensor."""

    leaves: frozenset[Any]
    """Of a function's body the numbers of its arguments; of a graph the fed tensors."""
    is_through_state: bool
    """Whether some of it goes through state that the same call writes to."""


class _Body:
    """Nodes that refer to one another: a graph's, or a function's."""

    def __init__(self, nodes: Iterable[Any], states: set[str]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.states = states
        """The names of nodes, or of arguments, that are handles."""

    @cached_property
    def consumers(self) -> Mapping[str, list[Any]]:
        found: dict[str, list[Any]] = defaultdict(list)
        for node in self.nodes.values():
            for name in dict.fromkeys(tensor_of(one)[0] for one in _data(node)):
                found[name].append(node)
        return found


class Dataflow:
    """Searches one graph; what it has found out of functions it keeps."""

    def __init__(self, graph_def: Any, op_defs: OpDefs) -> None:
        self._graph_def = graph_def
        self._state_ops = StateOps(op_defs)
        self._bodies: dict[str, _Body] = {}
        self._flows: dict[tuple[str, int], Flow] = {}
        self._writings: dict[tuple[str, int], frozenset[int] | None] = {}

    def into(self, fetched: Sequence[str], fed: Collection[str]) -> list[Flow]:
        """Return which of the `fed` tensors go into each of those that one call fetches.

        The search ends at what is fed, since feeding replaces what would be computed.
        """
        leaves = {tensor_of(one): one for one in fed}
        running = self._running(leaves, fetched) if self._graph.states else set()
        return [self._search(self._graph, leaves, [tensor], running) for tensor in fetched]

    @cached_property
    def _graph(self) -> _Body:
        nodes = self._graph_def.node
        return _Body(nodes, {n.name for n in nodes if self._state_ops.holds_state(n)})

    @cached_property
    def _states_of_a_name(self) -> Mapping[tuple[bytes, bytes], list[str]]:
        found: dict[tuple[bytes, bytes], list[str]] = defaultdict(list)
        for name in sorted(self._graph.states):
            found[state_name(self._graph.nodes[name])].append(name)
        return found

    @cached_property
    def _functions(self) -> dict[str, Any]:
        return {one.signature.name: one for one in self._graph_def.library.function}

    def _running(self, leaves: Leaves, fetched: Iterable[str]) -> set[str]:
        """Return the names of the nodes that a call runs."""
        found: set[str] = set()
        waiting = [tensor_of(one) for one in fetched]
        while waiting:
            place = name, _ = waiting.pop()
            node = self._graph.nodes.get(name)
            if place in leaves or name in found or node is None:
                continue
            found.add(name)
            waiting.extend(tensor_of(one.removeprefix("^")) for one in node.input)
        return found

    def _search(
        self, body: _Body, leaves: Leaves, starts: Sequence[str], running: set[str] | None
    ) -> Flow:
        """Return what goes into all of these tensors of a body.

        `running` are the nodes that run, None where all do.
        """
        everything = frozenset(leaves.values())
        found, seen, is_through_state = set(), set(), False
        waiting = [(start, False) for start in starts]
        while waiting:
            reference, is_conditional = waiting.pop()
            place = name, _ = tensor_of(reference)
            if (reference, is_conditional) in seen:
                continue
            seen.add((reference, is_conditional))
            if name in body.states:
                written, is_shared = self._written(body, name, running)
                waiting.extend((one, is_conditional) for one in written)
                is_through_state = is_through_state or is_shared
            if place in leaves:
                found.add(leaves[place])
                continue
            node = body.nodes.get(name)
            if node is None or shares_by_name(node):
                return Flow(everything, node is not None)
            flow = self._through(node, reference)
            is_through_state = is_through_state or flow.is_through_state
            is_conditional = is_conditional or node.op in _MERGES
            waiting.extend((one, is_conditional) for one in flow.leaves)
            if is_conditional:
                waiting.extend((one[1:], True) for one in node.input if one.startswith("^"))
        return Flow(frozenset(found), is_through_state)

    def _through(self, node: Any, reference: str) -> Flow:
        """Return the inputs of a node that go into one of its outputs."""
        inputs = _data(node)
        function = called_function(node)
        if function not in self._functions:
            return Flow(frozenset(inputs), any(map(self._writes, functions_of(node))))
        flow = self._flow_of(function, self._output_number(function, reference))
        return Flow(frozenset(inputs[n] for n in flow.leaves if n < len(inputs)), flow[1])

    def _flow_of(self, function: str, index: int) -> Flow:
        """Return what goes into a function's output of that number."""
        key = (function, index)
        if key not in self._flows:
            # Where a function calls itself, each of its arguments may go into any output.
            leaves = self._arguments(function)
            self._flows[key] = Flow(frozenset(leaves.values()), is_through_state=False)
            outputs = self._functions[function].signature.output_arg
            if index < len(outputs):
                start = self._functions[function].ret[outputs[index].name]
                self._flows[key] = self._search(self._body(function), leaves, [start], None)
        return self._flows[key]

    def _arguments(self, function: str) -> Leaves:
        arguments = self._functions[function].signature.input_arg
        return {(argument.name, 0): number for number, argument in enumerate(arguments)}

    def _body(self, function: str) -> _Body:
        if function not in self._bodies:
            found = self._functions[function]
            states = {one.name for one in found.signature.input_arg if is_handle(one)}
            states |= {node.name for node in found.node_def if self._state_ops.holds_state(node)}
            self._bodies[function] = _Body(found.node_def, states)
        return self._bodies[function]

    def _written(self, body: _Body, state: str, running: set[str] | None) -> tuple[list[str], bool]:
        """Return what is written to a state, and whether other calls may read that."""
        node = body.nodes.get(state)
        names = [state]
        if node is not None and running is not None:
            names = self._states_of_a_name[state_name(node)]
        is_reference = node is not None and self._state_ops.is_reference(node)
        seen, waiting = set(names), list(names)
        written: list[str] = []
        is_written = False
        while waiting:
            handle = waiting.pop()
            for consumer in body.consumers[handle]:
                if running is not None and consumer.name not in running:
                    continue
                use, sources = self._use(consumer, handle, is_reference=is_reference)
                written.extend(sources)
                is_written = is_written or use is Use.WRITE
                if use is not Use.READ and consumer.name not in seen:
                    seen.add(consumer.name)
                    waiting.append(consumer.name)
        return written, is_written and not (node is not None and ends_with_the_call(node))

    def _use(self, node: Any, handle: str, *, is_reference: bool) -> tuple[Use, list[str]]:
        """Return what a node does with a handle, and what it writes to it."""
        inputs, function = _data(node), called_function(node)
        if function in self._functions:
            places = [n for n, one in enumerate(inputs) if tensor_of(one)[0] == handle]
            found = [self._writing_of(function, place) for place in places]
            written = [one for one in found if one is not None]
            numbers = frozenset[int]().union(*written)
            return (Use.WRITE if written else Use.READ), [inputs[n] for n in sorted(numbers)]
        if any(name in self._functions for name in functions_of(node)):
            writes = any(map(self._writes, functions_of(node)))
            return (Use.WRITE, inputs) if writes else (Use.READ, [])
        use = self._state_ops.use(node, is_reference=is_reference)
        return use, inputs if use is Use.WRITE else []

    def _writing_of(self, function: str, argument: int) -> frozenset[int] | None:
        """Return which arguments a function writes to a handle; None where it writes none to it."""
        key = (function, argument)
        if key not in self._writings:
            body, leaves = self._body(function), self._arguments(function)
            everything = frozenset(leaves.values())
            self._writings[key] = everything  # where it calls itself
            signature = self._functions[function].signature
            returns_handles = any(map(is_handle, signature.output_arg))
            sources, is_written = self._written(body, signature.input_arg[argument].name, None)
            found = self._search(body, leaves, sources, None).leaves if is_written else None
            self._writings[key] = everything if returns_handles else found
        return self._writings[key]

    def _writes(self, function: str) -> bool:
        """Return whether a function, or one that it calls, writes to any state."""
        seen, waiting = set(), [function]
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._functions:
                continue
            seen.add(name)
            for node in self._functions[name].node_def:
                if self._state_ops.writes(node):
                    return True
                waiting += [called_function(node), *functions_of(node)]
        return False

    def _output_number(self, function: str, reference: str) -> int:
        """Return the number of an output: "node:2", or "node:name:0" in a function's body."""
        _, *rest = reference.split(":")
        names = [one.name for one in self._functions[function].signature.output_arg]
        if rest and rest[0] in names:
            return names.index(rest[0])
        return int(rest[-1]) if rest else 0


def tensor_of(reference: str) -> tuple[str, int]:
    """Return a tensor's node and output number; "x" means "x:0"."""
    name, _, index = reference.partition(":")
    return name, int(index.rpartition(":")[2] or 0)


def _data(node: Any) -> list[str]:
    return [name for name in node.input if not name.startswith("^")]
