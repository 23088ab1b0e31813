"""Checks what a body of a user's own says: no kind of object, and no size, goes further unseen."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topicserve.wire.bodies.asked import Asked
from topicserve.wire.bodies.interface import FLOATS_AND_INTEGERS, STRINGS, BodyContent
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.header_names import MAX_VERSION
from topicserve.wire.json_codec.body import Form, count_rows
from topicserve.wire.json_codec.bytes import too_deep
from topicserve.wire.limits import Limits, check_name, exceeds, shortened

_FORMS = (Form.INSTANCE, Form.INSTANCES, Form.INPUTS, Form.TENSORS)
_SCALARS = (type(None), bool, int, float, str, bytes)
# About what a number or a string takes as an object, with the pointer to it.
_NODE_BYTES = 64
# Content that takes no more than so many times its value is no bomb.
_USUAL_TIMES = 64


class CheckedContent(NamedTuple):
    """Content in one form: a tree of plain values, or arrays by input name."""

    form: Form
    value: Any


def checked_content(content: BodyContent, size: int, limits: Limits) -> CheckedContent:
    """Return the content of a value of so many bytes, or raise InvalidRecordError."""
    given = [form for form in _FORMS if getattr(content, form.value) is not None]
    if len(given) != 1:
        forms = ", ".join(form.value for form in _FORMS)
        found = ", ".join(form.value for form in given) or "none"
        raise InvalidRecordError("value", f"must hold exactly one of {forms}; found {found}")
    (form,) = given
    value = getattr(content, form.value)
    room = max(limits.max_unfolded_bytes, _USUAL_TIMES * size)
    if form is Form.TENSORS:
        return CheckedContent(form, _tensors(value, room, limits))
    tree = _Plain(form.value, room, limits).tree(value, 0)
    if form is not Form.INSTANCE:
        count_rows(tree, form)
    return CheckedContent(form, tree)


class _Plain:
    """Makes trees of lists, dicts with text as keys, numbers, strings and bytes; counts them."""

    def __init__(self, field: str, room: int, limits: Limits) -> None:
        self._field = field
        self._room = room
        self._limits = limits

    def tree(self, node: Any, depth: int) -> Any:
        """Return the plain tree of a node, or raise InvalidRecordError.

        What holds itself is too deep, or too large.
        """
        if depth > self._limits.max_nesting_depth:
            raise too_deep(self._field, self._limits.max_nesting_depth)
        if isinstance(node, (np.ndarray, np.generic)):
            self._take(node.nbytes + _NODE_BYTES * node.size)
            node = _strings(node).tolist() if node.dtype.kind in "OSU" else node.tolist()
        self._take(_NODE_BYTES + (len(node) if isinstance(node, (str, bytes)) else 0))
        if isinstance(node, (list, tuple)):
            return [self.tree(item, depth + 1) for item in node]
        if isinstance(node, Mapping):
            return {self._name(name): self.tree(item, depth + 1) for name, item in node.items()}
        if type(node) in _SCALARS:
            return node
        if isinstance(node, (bytearray, memoryview)):
            return bytes(node)
        raise InvalidRecordError(
            self._field, f"holds {type(node).__name__}, which no tensor can be made of"
        )

    def _name(self, name: Any) -> str:
        if type(name) is not str:
            raise InvalidRecordError(self._field, f"has a {type(name).__name__} as a name")
        check_name(f"{self._field}.{shortened(name)}", name, self._limits)
        return name

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise _too_large(self._field, self._limits)


def _tensors(value: Any, room: int, limits: Limits) -> dict[str, NDArray[Any]]:
    if not isinstance(value, Mapping):
        raise InvalidRecordError("tensors", f"must be a mapping, found {type(value).__name__}")
    if len(value) > limits.max_inputs:
        raise exceeds("tensors", f"has {len(value)} entries", "max_inputs", limits.max_inputs)
    tensors = {}
    for name, array in value.items():
        if type(name) is not str:
            raise InvalidRecordError("tensors", f"has a {type(name).__name__} as a name")
        where = f"tensors.{shortened(name)}"
        check_name(where, name, limits)
        if not isinstance(array, (np.ndarray, np.generic)) or isinstance(array, np.ma.MaskedArray):
            raise InvalidRecordError(where, f"is {type(array).__name__}, not a numpy array")
        room -= array.nbytes
        if room < 0:
            raise _too_large(where, limits)
        tensors[name] = _tensor(np.asarray(array), where)
    return tensors


def _tensor(array: NDArray[Any], where: str) -> NDArray[Any]:
    """Return an array of one of the dtypes that signatures declare, in this machine's byte order.

    It may be what the body keeps: the caller makes a copy before it is written to.
    """
    if array.dtype.kind in "OSU":
        return _strings(array)
    is_small_float = array.dtype.kind == "V" and array.dtype.names is None and array.dtype.num >= 0
    if array.dtype.kind not in FLOATS_AND_INTEGERS and not is_small_float:
        raise InvalidRecordError(where, f"has the dtype {array.dtype}, which no tensor has")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _strings(array: Any) -> NDArray[Any]:
    strings = np.empty(np.shape(array), STRINGS)
    flat = [one.encode() if isinstance(one, str) else one for one in np.ravel(array).tolist()]
    if any(type(one) is not bytes for one in flat):
        raise InvalidRecordError("value", "has an array of objects that are neither text nor bytes")
    strings.reshape(-1)[:] = flat
    return strings


def _too_large(field: str, limits: Limits) -> InvalidRecordError:
    allowed = limits.max_unfolded_bytes
    return exceeds(field, "takes much more memory than its value", "max_unfolded_bytes", allowed)


def checked_asked(answer: object, body: str, limits: Limits) -> Asked:
    """Return what a body says beside its content, or raise InvalidRecordError for odd answers."""
    if not isinstance(answer, Asked):
        found = type(answer).__name__
        raise InvalidRecordError("value", f"the body {body!r} asked for {found}, not an Asked")
    texts = ("servable_name", "label", "signature_name", "record_id")
    named = {field: getattr(answer, field) for field in texts}
    for field, text in named.items():
        if text is not None and type(text) is not str:
            raise InvalidRecordError(field, f"must be text, found {type(text).__name__}")
        check_name(field, text, limits)
    numbers = (answer.rows, answer.held_bytes)
    if any(type(number) is not int or number < 0 for number in numbers):
        raise InvalidRecordError("rows", "and held_bytes must be natural numbers")
    version = answer.version
    if version is not None and not (type(version) is int and 0 <= version <= MAX_VERSION):
        raise InvalidRecordError("version", "must be a whole number up to 2^63 - 1")
    if version is not None and answer.label:
        raise InvalidRecordError("label", "give a version or a label, not both")
    wanted = answer.output_filter
    if not isinstance(wanted, tuple) or any(type(name) is not str for name in wanted):
        raise InvalidRecordError("output_filter", "must be a tuple of names")
    if len(wanted) > limits.max_inputs:
        found = f"has {len(wanted)} entries"
        raise exceeds("output_filter", found, "max_inputs", limits.max_inputs)
    return answer
