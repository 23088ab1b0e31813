"""Records of 1 MiB that ask for as much as a record can: of time to decode, and of memory."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from topicserve.protos.predict_pb2 import PredictRequest
from topicserve.protos.tensor_pb2 import DT_FLOAT, DT_INT64, DT_STRING
from topicserve.servables.kinds.servable import FeatureSpec, Signature, TensorSpec
from topicserve.wire import header_names as names

SIZE_BYTES = 1024 * 1024 - 1024
"""What fits into a topic with Kafka's default limit, headers included."""

_FLOAT, _TEXT = np.dtype(np.float32), np.dtype(object)
_OUT = {"y": TensorSpec(_FLOAT)}
NUMBERS = Signature({"x": TensorSpec(_FLOAT)}, _OUT)
INTEGERS = Signature({"x": TensorSpec(np.dtype(np.int64))}, _OUT)
NUMBER_ROWS = Signature({"x": TensorSpec(_FLOAT, ())}, _OUT)
LONG_ROWS = Signature({"x": TensorSpec(_FLOAT, (None,))}, _OUT)
STRINGS = Signature({"x": TensorSpec(_TEXT)}, _OUT)
STRING_ROWS = Signature({"x": TensorSpec(_TEXT, ())}, _OUT)
EXAMPLES = Signature(
    {"examples": TensorSpec(_TEXT, ())},
    _OUT,
    features={
        "a": FeatureSpec(_FLOAT, (None,)),
        "b": FeatureSpec(_TEXT, (None,)),
    },
)
UNSEEN_EXAMPLES = Signature({"examples": TensorSpec(_TEXT, ())}, _OUT, features={})


class Heavy(NamedTuple):
    """One kind of record, and the signature that it asks."""

    value: bytes
    signature: Signature = NUMBERS
    content_type: str = names.JSON_CONTENT_TYPE


def _rows(
    size: int, item: bytes, opening: bytes = b'{"instances":[', closing: bytes = b"]}"
) -> bytes:
    """Return as many items as fit, with commas between."""
    count = (size - len(opening) - len(closing) + 1) // (len(item) + 1)
    return opening + b",".join([item] * count) + closing


def _row(size: int, item: bytes) -> bytes:
    return _rows(size, item, b'{"instance":[')


def _counted(size: int, item: Callable[[int], bytes]) -> bytes:
    """Return as many different items as fit, with commas between."""
    items: list[bytes] = []
    left = size - 20
    while left > 0:
        items.append(item(len(items)))
        left -= len(items[-1]) + 1
    return b",".join(items[:-1])


def _members(size: int, name: Callable[[int], bytes]) -> bytes:
    """Return an object of as many members as fit."""
    return b'{"instances":[{%b}]}' % _counted(size, lambda number: b'"%b":1' % name(number))


def _nested(text: bytes, depth: int) -> bytes:
    return b'{"instances":[' + b"[" * depth + text + b"]" * depth + b"]}"


def _tensor(fill: "_Fill") -> bytes:
    request = PredictRequest()
    fill(request)
    return request.SerializeToString()


_Fill = Callable[[PredictRequest], object]


def _packed(size: int, name: str = "x") -> _Fill:
    def fill(request: PredictRequest) -> None:
        tensor = request.inputs[name]
        tensor.dtype = DT_INT64
        tensor.tensor_shape.dim.add(size=size - 64)
        tensor.int64_val.extend([1] * (size - 64))

    return fill


def _different(size: int) -> _Fill:
    """Return as many integers of two bytes as fit, thousands of them different."""

    def fill(request: PredictRequest) -> None:
        count = size // 2 - 64
        tensor = request.inputs["a"]
        tensor.dtype = DT_INT64
        tensor.tensor_shape.dim.add(size=count)
        tensor.int64_val.extend(128 + number % 16_000 for number in range(count))

    return fill


def _different_strings(size: int) -> _Fill:
    def fill(request: PredictRequest) -> None:
        count = size // 4 - 64
        tensor = request.inputs["b"]
        tensor.dtype = DT_STRING
        tensor.tensor_shape.dim.add(size=count)
        tensor.string_val.extend(b"%c%c" % divmod(number % 2**16, 256) for number in range(count))

    return fill


def _floats(size: int) -> _Fill:
    def fill(request: PredictRequest) -> None:
        count = size // 4 - 64
        tensor = request.inputs["x"]
        tensor.dtype = DT_FLOAT
        tensor.tensor_shape.dim.add(size=count)
        tensor.float_val.extend([1.5] * count)

    return fill


def _strings(size: int, item: bytes) -> _Fill:
    def fill(request: PredictRequest) -> None:
        count = (size - 64) // (len(item) + 2)
        tensor = request.inputs["x"]
        tensor.dtype = DT_STRING
        tensor.tensor_shape.dim.add(size=count)
        tensor.string_val.extend([item] * count)

    return fill


def _many_tensors(size: int) -> _Fill:
    def fill(request: PredictRequest) -> None:
        for number in range(size // 26):
            tensor = request.inputs[f"x{number}"]
            tensor.dtype = DT_FLOAT
            tensor.float_val.append(1.0)

    return fill


def _same_input_again(size: int) -> bytes:
    """Return one map entry, again and again: the last one counts."""
    entry = _tensor(lambda request: request.inputs["x"].float_val.append(1.0))
    return entry * (size // len(entry))


def _protobuf(value: bytes, signature: Signature = NUMBERS) -> Heavy:
    return Heavy(value, signature, names.PROTOBUF_CONTENT_TYPE)


_UNKNOWN_FIELD = b"\xf8\x07\x01"  # field 127, a varint
_BASE64 = b'{"b64":"' + b"QUJD" * 1000 + b'"}'

HEAVY: dict[str, Callable[[int], Heavy]] = {
    "JSON, rows of one digit": lambda size: Heavy(_rows(size, b"1"), NUMBER_ROWS),
    "JSON, 300,000 rows of three characters": lambda size: Heavy(_rows(size, b"1.5"), NUMBER_ROWS),
    "JSON, rows that are empty strings": lambda size: Heavy(_rows(size, b'""'), STRING_ROWS),
    "JSON, rows of two letters": lambda size: Heavy(_rows(size, b'"ab"'), STRING_ROWS),
    "JSON, rows of a letter beyond Latin-1": lambda size: Heavy(
        _rows(size, '"Ā"'.encode()), STRING_ROWS
    ),
    "JSON, rows that are empty lists": lambda size: Heavy(_rows(size, b"[]")),
    "JSON, rows that are lists of a number": lambda size: Heavy(_rows(size, b"[1]"), LONG_ROWS),
    "JSON, rows that are empty objects": lambda size: Heavy(_rows(size, b"{}")),
    "JSON, rows that are objects of a number": lambda size: Heavy(
        _rows(size, b'{"x":1}'), NUMBER_ROWS
    ),
    "JSON, a row of one digit each": lambda size: Heavy(_row(size, b"1")),
    "JSON, a row of empty lists": lambda size: Heavy(_row(size, b"[]")),
    "JSON, a row of lists of a number": lambda size: Heavy(_row(size, b"[1]")),
    "JSON, a row of empty strings": lambda size: Heavy(_row(size, b'""'), STRINGS),
    "JSON, column of empty lists": lambda size: Heavy(_rows(size, b"[]", b'{"inputs":[')),
    "JSON, column of two letters": lambda size: Heavy(
        _rows(size, b'"ab"', b'{"inputs":['), STRING_ROWS
    ),
    "JSON, lists in lists, 500,000 deep": lambda size: Heavy(_nested(b"", size // 2 - 16)),
    "JSON, lists 60 deep": lambda size: Heavy(_rows(size, b"[" * 60 + b"]" * 60)),
    "JSON, lists 60 deep, with an escape in each": lambda size: Heavy(
        _rows(size, b"[" * 60 + b'"\\n"' + b"]" * 60), STRINGS
    ),
    "JSON, base64 in lists 60 deep": lambda size: Heavy(
        _rows(size, b"[" * 60 + b'{"b64":""}' + b"]" * 60), STRINGS
    ),
    "JSON, escapes": lambda size: Heavy(
        _rows(size, b"\\u0041" * (size // 6 - 8), b'{"instances":["', b'"]}'), STRING_ROWS
    ),
    "JSON, escaped quotation marks": lambda size: Heavy(
        b'{"instances":["' + b'\\"' * (size // 2 - 16) + b'"]}', STRING_ROWS
    ),
    "JSON, backslashes without an end": lambda size: Heavy(
        b'{"instances":[NaN,"' + b"\\" * (size - 32) + b'"]}', STRING_ROWS
    ),
    "JSON, an integer of a million digits": lambda size: Heavy(
        b'{"instances":[%b]}' % (b"7" * (size - 32)), INTEGERS
    ),
    "JSON, that integer and NaN": lambda size: Heavy(
        b'{"instances":[NaN,%b]}' % (b"7" * (size - 32)), INTEGERS
    ),
    "JSON, integers of 4,000 digits and NaN": lambda size: Heavy(
        _rows(size, b"7" * 4000, b'{"instances":[NaN,'), NUMBER_ROWS
    ),
    "JSON, integers of 400 digits": lambda size: Heavy(_rows(size, b"7" * 400), NUMBER_ROWS),
    "JSON, a float of a million digits": lambda size: Heavy(
        b'{"instances":[0.%b]}' % (b"7" * (size - 32)), NUMBER_ROWS
    ),
    "JSON, that float and NaN": lambda size: Heavy(
        b'{"instances":[NaN,0.%b]}' % (b"7" * (size - 40)), NUMBER_ROWS
    ),
    "JSON, floats of 700 digits": lambda size: Heavy(
        _rows(size, b"0." + b"7" * 700 + b"e-290"), NUMBER_ROWS
    ),
    "JSON, floats of 20 digits": lambda size: Heavy(
        _rows(size, b"1.2345678901234567891"), NUMBER_ROWS
    ),
    "JSON, a row of floats of 20 digits": lambda size: Heavy(_row(size, b"1.2345678901234567891")),
    "JSON, NaN in each row": lambda size: Heavy(_rows(size, b"NaN"), NUMBER_ROWS),
    "JSON, Infinity within strings": lambda size: Heavy(
        _rows(size, b'"NaN"', b'{"instances":[NaN,'), STRING_ROWS
    ),
    "JSON, one key again and again": lambda size: Heavy(_members(size, lambda number: b"a")),  # noqa: ARG005
    "JSON, 100,000 keys": lambda size: Heavy(_members(size, lambda number: b"%x" % number)),
    "JSON, one input again and again": lambda size: Heavy(
        _rows(size, b'"inputs":[1]', b"{", b"}"), LONG_ROWS
    ),
    "JSON, base64 of no byte": lambda size: Heavy(_rows(size, b'{"b64":""}'), STRING_ROWS),
    "JSON, base64 of 3 kB": lambda size: Heavy(_rows(size, _BASE64), STRING_ROWS),
    "JSON, base64 of 750 kB": lambda size: Heavy(
        b'{"instances":[{"b64":"%b"}]}' % (b"QUJD" * (size // 4 - 16)), STRING_ROWS
    ),
    "JSON, base64 with white space": lambda size: Heavy(
        b'{"instances":[{"b64":"%b"}]}' % (b"Q UJD " * (size // 6 - 16)), STRING_ROWS
    ),
    "examples, rows of no feature": lambda size: Heavy(_rows(size, b"{}"), EXAMPLES),
    "examples, rows of a number": lambda size: Heavy(_rows(size, b'{"a":1}'), EXAMPLES),
    "examples, one row of many numbers": lambda size: Heavy(
        _rows(size, b"1", b'{"instances":[{"a":[', b"]}]}"), EXAMPLES
    ),
    "examples, one row of many strings": lambda size: Heavy(
        _rows(size, b'""', b'{"instances":[{"b":[', b"]}]}"), EXAMPLES
    ),
    "examples, nested lists": lambda size: Heavy(
        _rows(size, b"[[[]]]", b'{"instances":[{"a":[', b"]}]}"), EXAMPLES
    ),
    "examples, serialized": lambda size: Heavy(_rows(size, b'{"b64":"CgA="}'), EXAMPLES),
    "examples, columns": lambda size: Heavy(
        _rows(size, b"1", b'{"inputs":{"a":[', b"]}}"), EXAMPLES
    ),
    "examples, column of lists": lambda size: Heavy(
        _rows(size, b"[1]", b'{"inputs":{"a":[', b"]}}"), EXAMPLES
    ),
    "examples, rows of different features": lambda size: Heavy(
        _rows(size, b'{},{"a":1}'), EXAMPLES
    ),
    "examples, each row with a name of its own": lambda size: Heavy(
        b'{"instances":[%b]}' % _counted(size, lambda number: b'{"%x":1}' % number),
        UNSEEN_EXAMPLES,
    ),
    "examples, one row of 100,000 names": lambda size: Heavy(
        _members(size, lambda number: b"%x" % number), UNSEEN_EXAMPLES
    ),
    "protobuf, examples of packed integers": lambda size: _protobuf(
        _tensor(_packed(size, "a")), EXAMPLES
    ),
    "protobuf, examples of different integers": lambda size: _protobuf(
        _tensor(_different(size)), UNSEEN_EXAMPLES
    ),
    "protobuf, examples of strings": lambda size: _protobuf(
        _tensor(_different_strings(size)), EXAMPLES
    ),
    "protobuf, packed integers": lambda size: _protobuf(_tensor(_packed(size)), INTEGERS),
    "protobuf, packed floats": lambda size: _protobuf(_tensor(_floats(size))),
    "protobuf, empty strings": lambda size: _protobuf(_tensor(_strings(size, b"")), STRINGS),
    "protobuf, strings of two bytes": lambda size: _protobuf(
        _tensor(_strings(size, b"ab")), STRINGS
    ),
    "protobuf, 40,000 tensors": lambda size: _protobuf(_tensor(_many_tensors(size))),
    "protobuf, one input again and again": lambda size: _protobuf(_same_input_again(size)),
    "protobuf, unknown fields": lambda size: _protobuf(_UNKNOWN_FIELD * (size // 3)),
    "protobuf, groups in groups": lambda size: _protobuf(b"\xfb\x07" * (size // 2)),
    "protobuf, output names": lambda size: _protobuf(b"\x1a\x00" * (size // 2)),
    "protobuf, examples of empty strings": lambda size: _protobuf(
        _tensor(_strings(size, b"")), EXAMPLES
    ),
}
