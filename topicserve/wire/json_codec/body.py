"""JSON bodies: TensorFlow Serving's REST predict call, and one row alone.

    {"instances": [row, ...]}   {"inputs": columns}   {"instance": row}

each with an optional "signature_name". Numbers may be NaN, Infinity and -Infinity.

A lone row stays undecoded until its batch is known: a whole batch of rows of numbers is parsed in
one call, for a fraction of what parsing each one costs. So do large bodies, and those whose trees
would take many times the memory of their text: what waits for its batch is the text alone.
"""

import json
from enum import Enum
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.json_codec.bytes import too_deep, with_bytes
from topicserve.wire.json_codec.number_rows import NumberRows, number_rows
from topicserve.wire.json_codec.numbers import count_items
from topicserve.wire.json_codec.text import (
    LARGE_BYTES,
    LONE_ROW_CLOSING,
    LONE_ROW_OPENING,
    count_byte,
    load_json,
    load_with_tokens,
    one_large_tree,
    why_not_json,
    without_number_tokens,
)
from topicserve.wire.limits import DEFAULT_LIMITS, Limits


class Form(Enum):
    """How a body holds its rows; for JSON the value is the body's own key."""

    INSTANCES = "instances"
    INPUTS = "inputs"
    INSTANCE = "instance"
    TENSORS = "tensors"
    """Arrays by input name, as in a protobuf PredictRequest."""
    ROW = "row"
    """One row that is no JSON: bytes, or text. It is answered as a lone row of JSON is."""
    CUSTOM = "custom"
    """What a body that is not ours reads: see `BodyContent`."""


WHOLE_FORMS = (Form.TENSORS, Form.CUSTOM)
"""Forms that take outputs as arrays in their declared shapes, of any dtype, and not as JSON."""


class JsonBody(msgspec.Struct, frozen=True, gc=False):
    """A JSON body, read as far as a batch needs it.

    `content` is a lone row (see `lone_row`) for Form.INSTANCE, and otherwise a tree of lists,
    objects, numbers, booleans, strings and bytes (from `{"b64": ...}`), or the whole body as Raw,
    undecoded (see `tree_of`). `rows` counts rows; for Form.INPUTS it is an estimate, the length of
    the first input that is a list.
    """

    form: Form
    content: Any
    rows: int
    signature_name: str | None
    held_bytes: int = 0
    """About how much memory is taken, beside the text, by the tree, or else by the columns."""
    number_rows: NumberRows | None = None
    """Set where the body, as Raw, may hold numbers alone: see `number_rows`."""


class _Body(msgspec.Struct, gc=False):
    instance: Raw | UnsetType = UNSET
    instances: Raw | UnsetType = UNSET
    inputs: Raw | UnsetType = UNSET
    signature_name: str | None = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_columns = msgspec.json.Decoder(dict[str, Raw]).decode
_INSTANCE = Form.INSTANCE.value

# What objects of CPython 3.11 to 3.14 take, each with the pointer to it; and bytes in a column.
_NUMBER_BYTES, _STRING_BYTES, _LIST_BYTES, _DICT_BYTES = 48, 96, 96, 240
# What an element of a column takes while it is made.
_COLUMN_NUMBER_BYTES, _COLUMN_STRING_BYTES = 16, 80
# A tree that takes no more than so many times its text is kept, if the text is not large; and that
# of a text so small, whatever it takes.
_KEPT_TIMES, _SMALL_BYTES = 12, 16 * 1024
# A lone row that is smaller counts as its text alone: to count its commas would cost too much.
_SMALL_ROW_BYTES = 4096


def lone_row(value: bytes | None) -> bytes | None:
    """Return a body that has a row and nothing else, `{"instance":row}`, as it is; else None.

    The row itself is not looked at and may be no JSON at all. Nothing else can be in the body: that
    would need another quotation mark.
    """
    if (
        value is not None
        and value.startswith(LONE_ROW_OPENING)
        and value.endswith(LONE_ROW_CLOSING)
        and value.find(b'"', len(LONE_ROW_OPENING)) < 0
    ):
        return value
    return None


def row_bytes(content: bytes) -> int:
    """Return what a lone row takes beside its text once its column is made; small ones nothing."""
    return built_bytes(content) if len(content) > _SMALL_ROW_BYTES else 0


def row_of(content: bytes, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Return a lone row as a tree, or raise InvalidRecordError."""
    row = content[len(LONE_ROW_OPENING) : -len(LONE_ROW_CLOSING)]
    return read_tree(row, Form.INSTANCE.value, limits)


def read_json_body(value: bytes | None, limits: Limits = DEFAULT_LIMITS) -> JsonBody:
    """Return a body, or raise InvalidRecordError naming the field at fault."""
    if value is None:
        raise InvalidRecordError("value", "is null; a JSON object was expected")
    if not value or value.isspace():
        raise InvalidRecordError("value", "is empty; a JSON object was expected")
    numbers = _read_number_rows(value)
    if numbers is not None:
        return numbers
    if len(value) <= LARGE_BYTES:
        return _read(value, limits)
    with one_large_tree:
        return _read(value, limits)


def _read_number_rows(value: bytes, signature_name: str | None = None) -> JsonBody | None:
    found = number_rows(value)
    if found is None:
        return None
    kind, rows = found
    size = built_bytes(value)
    return JsonBody(Form(kind.key), Raw(value), rows, signature_name, size, kind)


def _read(value: bytes, limits: Limits) -> JsonBody:
    body, tree = _read_body(value, limits)
    if body.instances is UNSET and body.inputs is UNSET and body.instance is not UNSET:
        row = bytes(body.instance) if tree is None else json.dumps(tree[_INSTANCE]).encode()
        content = LONE_ROW_OPENING + row + LONE_ROW_CLOSING
        return JsonBody(Form.INSTANCE, content, 1, body.signature_name, row_bytes(content))
    return _read_many(value, body, tree, limits)


def _read_body(value: bytes, limits: Limits) -> tuple[_Body, Any]:
    """Return a body; and its tree, if it had to be read as a whole."""
    try:
        try:
            return _decode(value), None
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            plain = without_number_tokens(value)
            if plain is None:
                raise
            return _decode(plain), load_with_tokens(value, plain)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except RecursionError:
        raise too_deep("value", limits.max_nesting_depth) from None
    except ValueError as error:  # msgspec.DecodeError is one
        raise InvalidRecordError("value", why_not_json(value, error)) from None


def read_tree(content: bytes, field: str, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Return undecoded JSON as a tree with bytes in place of every `{"b64": ...}`."""
    try:
        tree = load_json(content)
    except RecursionError:
        raise too_deep(field, limits.max_nesting_depth) from None
    except ValueError as error:
        raise InvalidRecordError(field, why_not_json(content, error, is_part=True)) from None
    return with_bytes(tree, content, field, limits.max_nesting_depth)


def tree_bytes(content: bytes) -> int:
    """Return about how much memory the tree of this JSON takes, from above.

    A number of two bytes of text becomes an object and a pointer to it; an object with one member,
    seven bytes of text, becomes a dict. A character beyond Latin-1 may make each of its string take
    four bytes. Commas and brackets within strings count, too.
    """
    value = _STRING_BYTES if b'"' in content else _NUMBER_BYTES
    lists, objects = (
        _LIST_BYTES * count_byte(content, b"["),
        _DICT_BYTES * count_byte(content, b"{"),
    )
    text = len(content) if content.isascii() else 4 * len(content)
    return text + value * count_byte(content, b",") + lists + objects


def built_bytes(content: bytes) -> int:
    """Return about how much memory the columns of this JSON take while they are made.

    Lists become dimensions, which take nothing; objects may become serialized tf.Examples.
    """
    if b'"' not in content:
        objects = _COLUMN_STRING_BYTES * count_byte(content, b"{")
        return _COLUMN_NUMBER_BYTES * count_byte(content, b",") + objects
    items = count_byte(content, b",") + count_byte(content, b"{")
    return len(content) + _COLUMN_STRING_BYTES * items


def tree_of(content: Raw, form: Form, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Return the tree of a body that was left undecoded, or raise InvalidRecordError."""
    body, tree = _read_body(bytes(content), limits)
    text = bytes(getattr(body, form.value))
    return _with_bytes(text, tree, form, limits)


def _invalid(error: msgspec.ValidationError) -> InvalidRecordError:
    if "signature_name" in str(error):
        return InvalidRecordError("signature_name", "must be a string")
    return InvalidRecordError("value", "must be a JSON object")


def _read_many(value: bytes, body: _Body, tree: Any, limits: Limits) -> JsonBody:
    given = [
        (form, content)
        for form, content in (
            (Form.INSTANCES, body.instances),
            (Form.INPUTS, body.inputs),
            (Form.INSTANCE, body.instance),
        )
        if content is not UNSET
    ]
    if len(given) != 1:
        raise InvalidRecordError(
            "value", 'must have exactly one of "instances", "inputs" and "instance"'
        )
    ((form, content),) = given
    text = bytes(content)
    if tree is None and form is not Form.INSTANCE:
        alone = b'{"%b":%b}' % (form.value.encode(), text)
        numbers = _read_number_rows(alone, body.signature_name)
        if numbers is not None:
            return numbers
    size = tree_bytes(text)
    if len(text) <= LARGE_BYTES and (len(text) <= _SMALL_BYTES or size <= _KEPT_TIMES * len(text)):
        tree = _with_bytes(text, tree, form, limits)
        return JsonBody(form, tree, count_rows(tree, form), body.signature_name, size)
    rows = _count_undecoded(text, form) if tree is None else None
    if rows is None:  # there are none, or it has numbers of more than 64 bits
        rows = count_rows(_with_bytes(text, tree, form, limits), form)
    return JsonBody(form, Raw(value), rows, body.signature_name, built_bytes(text))


def _with_bytes(text: bytes, tree: Any, form: Form, limits: Limits) -> Any:
    """Return the tree of a body's rows; `tree` is the whole body's, where there is one."""
    if tree is None:
        return read_tree(text, form.value, limits)
    return with_bytes(tree[form.value], text, form.value, limits.max_nesting_depth)


def _count_undecoded(text: bytes, form: Form) -> int | None:
    """Return the same as `count_rows` without making a tree; None where it cannot be told."""
    if form is Form.INPUTS and text[:1] == b"{":
        try:
            columns = _decode_columns(text).values()
        except msgspec.DecodeError:
            return None
        text = next((text for text in map(bytes, columns) if text.startswith(b"[")), b"{}")
    return count_items(text) or None


def count_rows(tree: Any, form: Form) -> int:
    """Return the rows of an `instances` list, and an estimate for `inputs`.

    Which of the inputs have rows the signature says: the first one that is a list is counted.
    """
    if form is Form.INSTANCES:
        if not (isinstance(tree, list) and tree):
            raise InvalidRecordError(form.value, "must be a list of at least one row")
        return len(tree)
    if tree == [] or tree is None:
        raise InvalidRecordError(
            form.value, "must be a list of at least one row, or an object of inputs by name"
        )
    columns = tree.values() if isinstance(tree, dict) else [tree]
    return max(next((len(column) for column in columns if isinstance(column, list)), 1), 1)
