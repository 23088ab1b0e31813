"""Finds variables that a signature is certain to read, and that hold no value.

A model may be saved without the values of its variables: TensorFlow tracks those of its own
objects, not those of a Keras 3 model, say. Such a version loads, and then fails every call.

Not every variable without a value is a fault. One that nothing reads, that a call assigns before
it reads, or that is read in a branch alone is the model's own affair. So only a variable counts
whose every use in the signature is a plain read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from topicserve.servables.kinds.saved_model.graph.graph_search import ancestors
from topicserve.servables.kinds.saved_model.runtime import Session, tf

_HANDLES = ("VarHandleOp",)
_REFS = ("VariableV2", "Variable")
_READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# They pass a variable to one branch alone.
_SWITCHES = ("Switch", "RefSwitch", "_SwitchN")

Functions = Mapping[str, Any]


def find_uninitialized(session: Session) -> list[Any]:
    """Return the operations of the variables without a value."""
    graph = session.graph
    variables = [one for one in graph.get_operations() if one.type in (*_HANDLES, *_REFS)]
    if not variables:
        return []
    with graph.as_default():
        checks = [_is_initialized(variable) for variable in variables]
    found = session.run(checks)
    return [one for one, is_set in zip(variables, found, strict=True) if not is_set]


def certain_reads(
    session: Session,
    variables: Iterable[Any],
    output_names: Sequence[str],
    functions: Iterable[Any],
) -> list[str]:
    """Return the names of the variables that every call for these outputs reads unassigned."""
    needed = ancestors(session.graph, output_names)
    bodies = {function.signature.name: function for function in functions}
    return sorted(
        variable.name
        for variable in variables
        if variable.name in needed and _is_certain_read(variable, needed, bodies)
    )


def _is_initialized(variable: Any) -> Any:
    (tensor,) = variable.outputs
    if variable.type in _HANDLES:
        return tf.raw_ops.VarIsInitializedOp(resource=tensor)
    return tf.raw_ops.IsVariableInitialized(ref=tensor)


def _is_certain_read(variable: Any, needed: set[str], bodies: Functions) -> bool:
    (tensor,) = variable.outputs
    if variable.type in _HANDLES:
        uses = list(_handle_uses(tensor, needed, bodies))
    else:
        uses = [_reads_ref(one) for one in tensor.consumers() if one.name in needed]
    return bool(uses) and all(uses)


def _reads_ref(operation: Any) -> bool:
    takes_ref = any(argument.is_ref for argument in operation.op_def.input_arg)
    return not takes_ref and operation.type not in _SWITCHES


def _handle_uses(tensor: Any, needed: set[str], bodies: Functions) -> Iterator[bool]:
    """Yield for each use of a handle whether it is a read."""
    for operation in tensor.consumers():
        if operation.name not in needed:
            continue
        if operation.type == "Identity":
            yield from _handle_uses(operation.outputs[0], needed, bodies)
        elif operation.type in _CALLS:
            name = operation.get_attr("f").name
            for index, one in enumerate(operation.inputs):
                if one.name == tensor.name:
                    yield from _uses_in_function(name, index, bodies)
        else:
            yield operation.type in _READS


def _uses_in_function(name: str, index: int, bodies: Functions) -> Iterator[bool]:
    """Yield the same for a function's argument.

    A function that is not known may do anything, and so may one that gives the handle back.
    """
    function = bodies.get(name)
    if function is None:
        yield False
        return
    # A function that calls itself is not known further in.
    bodies = {other: body for other, body in bodies.items() if other != name}
    needed = _needed_nodes(function)
    handles = _aliases(function, function.signature.input_arg[index].name)
    if handles.intersection(function.ret.values()):
        yield False
    for node in function.node_def:
        if node.name not in needed:
            continue
        for position, name in enumerate(node.input):
            if name not in handles or node.op == "Identity":
                continue
            if node.op in _CALLS:
                yield from _uses_in_function(node.attr["f"].func.name, position, bodies)
            else:
                yield node.op in _READS


def _aliases(function: Any, handle: str) -> set[str]:
    """Return the names of a handle in a function: its own, and those of its Identities."""
    handles, known = {handle}, 0
    while len(handles) > known:
        known = len(handles)
        handles |= {
            f"{node.name}:output:0"
            for node in function.node_def
            if node.op == "Identity" and node.input[0] in handles
        }
    return handles


def _needed_nodes(function: Any) -> set[str]:
    """Return the nodes that a call of the function runs."""
    nodes = {node.name: node for node in function.node_def}
    waiting = [_node_of(name) for name in function.ret.values()]
    waiting += list(function.control_ret.values())
    needed: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in needed or name not in nodes:  # not a node: an argument
            continue
        needed.add(name)
        waiting += [_node_of(one) for one in nodes[name].input]
    return needed


def _node_of(tensor_name: str) -> str:
    return tensor_name.removeprefix("^").partition(":")[0]
