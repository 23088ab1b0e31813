"""Records of the Open Inference Protocol that ask for as much as a record can."""

from collections.abc import Callable

from tests.support.open_inference.published import pb
from tests.support.stages.heavy_records import (
    INTEGERS,
    NUMBERS,
    STRINGS,
    Heavy,
)
from topicserve.servables.kinds.servable import Signature
from topicserve.wire import header_names as names


def _json(
    size: int, signature: Signature, datatype: str, shape: str, item: str, parameters: str = ""
) -> Heavy:
    """Return as many elements as fit; `shape` has a place for their number."""
    head = f'{{"inputs":[{{"name":"x","datatype":"{datatype}"{parameters},"data":['
    room = size - len(head) - 100
    count = room // (len(item) + 1)
    data = ",".join([item] * count)
    value = f'{head}{data}],"shape":{shape % count}}}]}}'
    return Heavy(value.encode(), signature, names.OPEN_INFERENCE_JSON)


def _protobuf(
    signature: Signature,
    datatype: str,
    shape: list[int],
    raw: bytes | None = None,
    **contents: list[object],
) -> Heavy:
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    if raw is not None:
        request.raw_input_contents.append(raw)
    return Heavy(request.SerializeToString(), signature, names.OPEN_INFERENCE_PROTOBUF)


_LONG = "9" * 300
_HEAVY: dict[str, Callable[[int], Heavy]] = {
    "JSON, integers": lambda size: _json(size, INTEGERS, "INT64", "[%d]", "1"),
    "JSON, floats": lambda size: _json(size, NUMBERS, "FP32", "[%d]", "0.5"),
    "JSON, rows of one": lambda size: _json(size, NUMBERS, "FP32", "[%d,1]", "[1]"),
    "JSON, lists 60 deep": lambda size: _json(
        size, NUMBERS, "FP32", "[%d" + ",1" * 60 + "]", "[" * 60 + "1" + "]" * 60
    ),
    "JSON, empty strings": lambda size: _json(size, STRINGS, "BYTES", "[%d]", '""'),
    "JSON, strings in lists 60 deep": lambda size: _json(
        size, STRINGS, "BYTES", "[%d" + ",1" * 60 + "]", "[" * 60 + '""' + "]" * 60
    ),
    "JSON, base64": lambda size: _json(
        size, STRINGS, "BYTES", "[%d]", '"YWI="', ',"parameters":{"content_type":"base64"}'
    ),
    "JSON, integers of 300 digits": lambda size: _json(size, NUMBERS, "FP64", "[%d]", _LONG),
    "JSON, an integer of a million digits": lambda size: _json(
        size, INTEGERS, "INT64", "[%d]", "7" * (size - 200)
    ),
    "JSON, a shape of many sizes": lambda size: Heavy(
        b'{"inputs":[{"name":"x","datatype":"FP32","data":[],"shape":[%b0]}]}'
        % (b"0," * ((size - 100) // 2)),
        NUMBERS,
        names.OPEN_INFERENCE_JSON,
    ),
    "JSON, many inputs": lambda size: Heavy(
        b'{"inputs":[%b]}'
        % b",".join([b'{"name":"","datatype":"","shape":[]}'] * ((size - 20) // 38)),
        NUMBERS,
        names.OPEN_INFERENCE_JSON,
    ),
    "protobuf, integers": lambda size: _protobuf(
        INTEGERS, "INT64", [size], int64_contents=[1] * size
    ),
    "protobuf, raw strings": lambda size: _protobuf(
        STRINGS, "BYTES", [size // 6], b"\2\0\0\0ab" * (size // 6)
    ),
    "protobuf, strings": lambda size: _protobuf(
        STRINGS, "BYTES", [size // 4], bytes_contents=[b"ab"] * (size // 4)
    ),
    "protobuf, many inputs": lambda size: Heavy(
        b"\x2a\x00" * (size // 2), NUMBERS, names.OPEN_INFERENCE_PROTOBUF
    ),
    "protobuf, many outputs": lambda size: Heavy(
        b"\x32\x00" * (size // 2), NUMBERS, names.OPEN_INFERENCE_PROTOBUF
    ),
    "protobuf, a shape of many sizes": lambda size: _protobuf(NUMBERS, "FP32", [0] * size, b""),
    "protobuf, raw contents of none": lambda size: Heavy(
        b"\x3a\x00" * (size // 2), NUMBERS, names.OPEN_INFERENCE_PROTOBUF
    ),
}
OPEN_INFERENCE = {f"Open Inference {name}": make for name, make in _HEAVY.items()}
