"""Which operations hold state, and what others do with it: variables, tables, queues, stacks.

State is reached through a handle: a tensor of dtype resource, or in TF 1 of a reference dtype.
"""

import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

OpDefs = Callable[[str], Any]
"""Returns an operation's OpDef by its name, None where it is not registered."""

_RESOURCE = 20  # DT_RESOURCE

# Parts of the names of operations that change state. An operation of another name that takes a
# handle reads: a tokenizer its vocabulary, a forest of trees its nodes. What a generator of random
# numbers keeps is no row.
_WRITES = re.compile(
    "Assign|Scatter|Apply|Enqueue|Dequeue|Insert|Remove|Import|Push|Pop|Write|Put|Take|Update"
    "|Accum|CountUpTo|Restore|Deserialize|GetNext|ReaderRead|Summaries|Flush|Clear|Append"
)
_ENDS_WITH_THE_CALL = ("TensorArray", "Stack", "TemporaryVariable")
# They share state by name, without a handle.
_NAMED = ("Unstage", "StagePeek", "MapUnstage", "MapPeek", "OrderedMapUnstage", "OrderedMapPeek")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


class Use(Enum):
    """What an operation does with a handle that it takes."""

    READ = "read"
    PASS_ON = "pass on"
    WRITE = "write"


class StateOps:
    """Looks operations up in what TensorFlow has registered."""

    def __init__(self, op_defs: OpDefs) -> None:
        self._op_defs = op_defs

    def holds_state(self, node: Any) -> bool:
        """Return whether the node makes a handle."""
        op_def = self._op_defs(node.op)
        return op_def is not None and _gives_handle(op_def) and not _takes_handle(op_def)

    def use(self, node: Any, *, is_reference: bool) -> Use:
        """Return what a node that calls no function does with a handle among its inputs."""
        op_def = self._op_defs(node.op)
        if op_def is None:
            return Use.WRITE
        if _takes_handle(op_def):
            if _WRITES.search(node.op):
                return Use.WRITE
            return Use.PASS_ON if _gives_handle(op_def) else Use.READ
        # Any operation takes the value of a reference; of a resource there is none.
        return Use.READ if is_reference else Use.PASS_ON

    def writes(self, node: Any) -> bool:
        """Return whether the node changes what some handle stands for."""
        op_def = self._op_defs(node.op)
        return op_def is not None and _takes_handle(op_def) and bool(_WRITES.search(node.op))

    def is_reference(self, node: Any) -> bool:
        """Return whether the node's handle is one of TF 1's references."""
        op_def = self._op_defs(node.op)
        return op_def is not None and any(output.is_ref for output in op_def.output_arg)


def ends_with_the_call(node: Any) -> bool:
    """Return whether each call has this state for itself, as the arrays of a loop are."""
    return bool(node.op.startswith(_ENDS_WITH_THE_CALL))


def shares_by_name(node: Any) -> bool:
    """Return whether the node gives what another one has put aside under a name."""
    return node.op in _NAMED


def state_name(node: Any) -> tuple[bytes, bytes]:
    """Return what nodes for the same state have in common."""
    return node.attr["container"].s, node.attr["shared_name"].s or node.name.encode()


def called_function(node: Any) -> str:
    """Return the name of the function that the node may be a plain call of."""
    return str(node.attr["f"].func.name if node.op in _CALLS else node.op)


def functions_of(node: Any) -> Iterator[str]:
    """Yield the functions that a node may call: the branches of a condition, a loop's body."""
    for value in node.attr.values():
        if value.func.name:
            yield value.func.name
        for function in value.list.func:
            yield function.name


def is_handle(argument: Any) -> bool:
    """Return whether a function's argument is a handle."""
    return bool(argument.type == _RESOURCE)


def _gives_handle(op_def: Any) -> bool:
    return any(output.is_ref or output.type == _RESOURCE for output in op_def.output_arg)


def _takes_handle(op_def: Any) -> bool:
    return any(one.is_ref or one.type == _RESOURCE for one in op_def.input_arg)
