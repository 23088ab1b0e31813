"""Records of the Open Inference Protocol on the assembled stages: answered in their own form."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.open_inference.published import pb
from tests.support.open_inference.server import raw
from tests.support.servables.kind_context import ServablesInMemory
from tests.support.servables.onnx_files import echoes, save
from tests.support.stages.poison import Line, check_alone, good, message_of, reason_of
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.registry import load_kind
from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import Reason
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.wire.result import Result, decode_result

ROWS = np.array([[1.5, 2.0, -3.0], [4.0, 5.0, 6.0]], np.float32)
X = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": ROWS.ravel().tolist()}
MIXED: Mapping[str, tuple[str, Any]] = {
    "n": ("INT64", np.array([[7, -8]])),
    "s": ("BYTES", np.array(["été".encode()], object)),
    "b": ("BOOL", np.array([[True]])),
}


def a_record(content_type: str, value: bytes | None, *more: tuple[str, str]) -> KafkaRecord:
    """Return a record between the good ones."""
    headers = [(name, text.encode()) for name, text in more]
    return good(1, value=value, headers=[("content-type", content_type.encode()), *headers])


def in_json(*more: tuple[str, str], **request: Any) -> KafkaRecord:
    """Return a record of an inference request."""
    return a_record(names.OPEN_INFERENCE_JSON, orjson.dumps({"inputs": [X], **request}), *more)


def a_request(is_raw: bool, **tensors: tuple[str, Any]) -> Any:
    """Return a ModelInferRequest of these arrays."""
    request = pb.ModelInferRequest()
    for name, (datatype, array) in tensors.items():
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if is_raw:
            request.raw_input_contents.append(raw(array))
        else:
            kinds = {"FP32": "fp32", "INT64": "int64", "BYTES": "bytes", "BOOL": "bool"}
            field = getattr(tensor.contents, f"{kinds[datatype]}_contents")
            field.extend(array.ravel().tolist())
    return request


def in_protobuf(request: Any, *more: tuple[str, str]) -> KafkaRecord:
    """Return a record of a ModelInferRequest."""
    return a_record(names.OPEN_INFERENCE_PROTOBUF, request.SerializeToString(), *more)


def result_of(outcome: OutgoingRecord) -> Result:
    """Return a result as a reader has it."""
    assert outcome.topic == "out", message_of(outcome)
    return decode_result(
        KafkaRecord(outcome.topic, 0, 0, 0, outcome.key, outcome.value, outcome.headers)
    )


def test_an_inference_request_is_answered_with_an_inference_response() -> None:
    """Its names are the protocol's; the worker and the metadata are in the headers."""
    outcome = check_alone(Line(), in_json(id="request-7"))

    assert orjson.loads(outcome.value or b"") == {
        "model_name": "digits",
        "model_version": "1",
        "id": "request-7",
        "outputs": [{**X, "name": "y"}],
    }
    result = result_of(outcome)
    assert dict(outcome.headers)["content-type"] == names.OPEN_INFERENCE_JSON.encode()
    assert (result.form, result.worker_id, result.version) == (Form.TENSORS, "worker-1", 1)
    assert result.value["y"].tolist() == ROWS.tolist()
    assert result.value["y"].dtype == np.float32


@pytest.mark.parametrize("is_raw", [True, False])
def test_a_model_infer_request_is_answered_with_contents_of_its_kind(is_raw: bool) -> None:
    """As Triton's clients and MLServer's expect."""
    request = a_request(is_raw, x=("FP32", ROWS))
    request.id = "request-7"

    outcome = check_alone(Line(), in_protobuf(request))

    response = pb.ModelInferResponse.FromString(outcome.value or b"")
    assert (response.model_name, response.model_version, response.id) == (
        *("digits", "1", "request-7"),
    )
    (tensor,) = response.outputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("y", "FP32", [2, 3])
    assert list(response.raw_output_contents) == ([raw(ROWS)] if is_raw else [])
    assert list(tensor.contents.fp32_contents) == ([] if is_raw else ROWS.ravel().tolist())
    assert result_of(outcome).value["y"].tolist() == ROWS.tolist()


@pytest.mark.parametrize("form", ["JSON", "raw", "typed"])
def test_strings_booleans_and_integers_are_answered(form: str) -> None:
    """Of a signature of several inputs, that a header names."""
    signature = (names.SIGNATURE, "mixed")
    if form == "JSON":
        tensors = [
            {"name": n, "datatype": d, "shape": a.shape, "data": _texts(a)}
            for n, (d, a) in MIXED.items()
        ]
        record = in_json(signature, inputs=tensors)
    else:
        record = in_protobuf(a_request(form == "raw", **MIXED), signature)

    value = result_of(check_alone(Line(), record)).value

    assert {name: column.tolist() for name, column in value.items()} == {
        name: array.tolist() for name, (_, array) in MIXED.items()
    }


def _texts(array: Any) -> list[Any]:
    return [one.decode() if isinstance(one, bytes) else one for one in array.ravel().tolist()]


def test_outputs_are_those_that_are_asked_for() -> None:
    """And one that there is not is refused."""
    signature = (names.SIGNATURE, "mixed")
    request = a_request(True, **MIXED)
    request.outputs.add(name="s")
    wrong = a_request(True, **MIXED)
    wrong.outputs.add(name="t")

    one = result_of(check_alone(Line(), in_protobuf(request, signature)))
    none = check_alone(Line(), in_protobuf(wrong, signature))
    in_text = check_alone(Line(), in_json(outputs=[{"name": "y"}]))

    assert list(one.value) == ["s"]
    assert reason_of(none) is Reason.INVALID_INPUT
    assert list(result_of(in_text).value) == ["y"]


def test_a_request_names_its_model_and_version() -> None:
    """A version that is no number is a label; headers stand for what is left out."""
    named, labelled, other = (a_request(True, x=("FP32", ROWS)) for _ in range(3))
    named.model_name, named.model_version = "digits", "1"
    labelled.model_version = "stable"
    other.model_name = "another"
    headers = (names.SERVABLE, "digits")

    assert reason_of(check_alone(Line(), in_protobuf(named))) is None
    label = check_alone(Line(), in_protobuf(labelled, headers))
    unknown = check_alone(Line(), in_protobuf(other, headers))

    assert reason_of(label) is Reason.UNKNOWN_VERSION
    assert "stable" in message_of(label)
    assert reason_of(unknown) is Reason.UNKNOWN_SERVABLE


@pytest.mark.parametrize("is_json", [True, False])
def test_the_id_stands_for_a_record_id_that_is_missing(is_json: bool) -> None:
    """A record without either is refused; one without an id is answered with its record id."""
    request = a_request(True, x=("FP32", ROWS))
    bare = in_json() if is_json else in_protobuf(request)
    request.id = "own"
    own = in_json(id="own") if is_json else in_protobuf(request)
    no_id = [[one for one in record.headers if one[0] != names.ID] for record in (bare, own)]

    answered = result_of(check_alone(Line(), bare))
    stands = result_of(check_alone(Line(), replace(own, headers=no_id[1])))
    refused = check_alone(Line(), replace(bare, headers=no_id[0]))

    assert answered.record_id == dict(bare.headers)[names.ID].decode()  # type: ignore[union-attr]
    assert answered.record_id.encode() in (answered.record.value or b"")
    assert stands.record_id == "own"
    assert "ce_id: is missing" in message_of(refused)


def test_rows_of_records_share_a_call() -> None:
    """Each is answered with its own rows, whatever the forms of the others."""
    outcomes = Line().run(
        good(0), in_json(), replace(in_protobuf(a_request(True, x=("FP32", ROWS))), offset=2)
    )

    for offset in (1, 2):
        assert result_of(outcomes[offset]).value["y"].tolist() == ROWS.tolist()


BAD_JSON: Mapping[str, tuple[Any, str]] = {
    "no JSON": (b"{", "value: is not JSON"),
    "no object": (b"[]", "value: Expected `object`, got `array`"),
    "no inputs": (b"{}", "value: is missing the required field `inputs`"),
    "a rest": ({"instances": [1]}, "is missing the required field `inputs`"),
    "no shape": ({"inputs": [{"name": "x", "datatype": "FP32", "data": [1]}]}, "field `shape`"),
    "a name that is none": ({"inputs": [{**X, "name": 1}]}, "Expected `str`, got `int`"),
    "a shape of fractions": ({"inputs": [{**X, "shape": [0.5]}]}, "Expected `int`"),
    "a shape that lies": ({"inputs": [{**X, "shape": [2, 4]}]}, r"inputs.x: data has 6 elements"),
    "a huge shape": ({"inputs": [{**X, "shape": [2**40, 2**40]}]}, "is not a shape"),
    "an unknown datatype": ({"inputs": [{**X, "datatype": "FP8"}]}, "'FP8' is not one of"),
    "the same twice": ({"inputs": [X, X]}, "inputs.x: is given twice"),
    "no data": ({"inputs": [{n: v for n, v in X.items() if n != "data"}]}, "inputs.x: has no data"),
    "binary data": (
        {"inputs": [{**X, "parameters": {"binary_data_size": 24}}]},
        f"has binary data, which must be {names.OPEN_INFERENCE_PROTOBUF}",
    ),
    "lists without end": (b'{"inputs":[],"more":' + b"[" * 100_000, "is nested too deeply"),
    "data without end": (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":' + b"[" * 100_000,
        "is nested too deeply",
    ),
    "many inputs": ({"inputs": [X] * 10_001}, "inputs: has 10001 entries; 10000 are possible"),
    "many outputs": (
        {"inputs": [X], "outputs": [{"name": "y"}] * 10_001},
        "outputs: has 10001 entries; 10000 are possible",
    ),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_json_that_is_no_request_is_refused_alone(name: str) -> None:
    """The message has the place and what is wrong there."""
    value, says = BAD_JSON[name]
    content = value if isinstance(value, bytes) else orjson.dumps(value)

    outcome = check_alone(Line(), a_record(names.OPEN_INFERENCE_JSON, content))

    assert reason_of(outcome) is Reason.INVALID_RECORD
    assert says in message_of(outcome)


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "says"),
    [
        ("FP32", [2, 3], b"\0" * 23, "inputs.x: has 23 bytes of raw contents"),
        ("FP32", [2**40, 2**40], b"", "is not a shape"),
        ("FP32", [-1, 3], b"", "is not a shape"),
        ("FP8", [2, 3], b"", "'FP8' is not one of"),
        ("BYTES", [2**30], b"\0" * 8, "are too few for 1073741824 strings"),
        ("BYTES", [1], b"\xff\xff\xff\xffa", "the strings take"),
    ],
)
def test_protobuf_that_contradicts_itself_is_refused_alone(
    datatype: str, shape: list[int], content: bytes, says: str
) -> None:
    """Before anything of the declared size is made."""
    request = pb.ModelInferRequest(raw_input_contents=[content])
    request.inputs.add(name="x", datatype=datatype, shape=shape)

    outcome = check_alone(Line(), in_protobuf(request))

    assert reason_of(outcome) is Reason.INVALID_RECORD
    assert says in message_of(outcome)


@pytest.mark.parametrize(
    ("value", "says"),
    [(None, "is null"), (b"\xff\xff", "is not a ModelInferRequest"), (b"\x2a\0" * 10_001, "10001")],
)
def test_bytes_that_are_no_message_are_refused_alone(value: Any, says: str) -> None:
    """With what was expected."""
    outcome = check_alone(Line(), a_record(names.OPEN_INFERENCE_PROTOBUF, value))

    assert reason_of(outcome) is Reason.INVALID_RECORD
    assert says in message_of(outcome)


@pytest.mark.parametrize("is_json", [True, False])
def test_another_datatype_than_the_models_is_the_inputs_fault(is_json: bool) -> None:
    """As for a PredictRequest."""
    record = in_json(inputs=[{**X, "datatype": "FP64"}])
    if not is_json:
        record = in_protobuf(a_request(True, x=("INT64", ROWS.astype(np.int64))))

    outcome = check_alone(Line(), record)

    assert reason_of(outcome) is Reason.INVALID_INPUT
    assert "x: must be float32" in message_of(outcome)


NAMES = st.sampled_from(["x", "y", "", "\udcff".encode(errors="replace").decode(), "n" * 2000])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
INPUTS = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | ANYTHING,
        "datatype": st.sampled_from(["FP32", "BYTES", "BOOL", "INT64", "FP8"]) | ANYTHING,
        "shape": st.lists(st.integers(-1, 4) | st.integers(), max_size=4) | ANYTHING,
        "data": st.lists(st.integers(0, 1), max_size=12) | ANYTHING,
        "parameters": ANYTHING,
    },
)


@given(
    st.fixed_dictionaries(
        {"inputs": st.lists(INPUTS, max_size=3) | ANYTHING},
        optional={"id": NAMES | ANYTHING, "outputs": ANYTHING},
    )
)
def test_any_json_is_answered_or_refused_alone(request: Any) -> None:
    """Whatever stands in the members that the protocol has."""
    try:
        value = orjson.dumps(request)
    except TypeError:  # an integer of more than 64 bits
        return

    check_alone(Line(), a_record(names.OPEN_INFERENCE_JSON, value))


@given(
    st.lists(
        st.tuples(
            NAMES,
            st.sampled_from(["FP32", "BYTES", "BOOL", "INT64", "BF16", "FP8"]),
            st.lists(st.integers(-1, 4) | st.integers(-(2**63), 2**63 - 1), max_size=4),
            st.lists(st.integers(0, 1), max_size=8),
        ),
        max_size=3,
    ),
    st.lists(st.binary(max_size=60), max_size=3),
    st.binary(max_size=8),
)
def test_any_message_is_answered_or_refused_alone(
    inputs: list[Any], contents: list[bytes], rest: bytes
) -> None:
    """Whatever its fields say, and whatever follows it."""
    request = pb.ModelInferRequest(raw_input_contents=contents)
    for name, datatype, shape, values in inputs:
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        tensor.contents.int64_contents.extend(values)

    value = request.SerializeToString() + rest
    check_alone(Line(), a_record(names.OPEN_INFERENCE_PROTOBUF, value))


@given(st.binary(max_size=80))
def test_any_bytes_are_answered_or_refused_alone(value: bytes) -> None:
    """In both forms."""
    for content_type in (names.OPEN_INFERENCE_JSON, names.OPEN_INFERENCE_PROTOBUF):
        check_alone(Line(), a_record(content_type, value))


def _hashmap(path: Path) -> Any:
    (path / "hashmap.csv").write_text("été,summer\n")
    return "hashmap", {"key": ("BYTES", np.array(["été".encode()] * 2, object))}, b"summer"


def _vocabulary(path: Path) -> Any:
    (path / "vocabulary.txt").write_text("a\nb\n")
    return "vocabulary", {"token": ("BYTES", np.array([b"b"] * 2, object))}, 1


def _transform(path: Path) -> Any:
    steps = [{"step": "clip", "input": "x", "output": "y", "maximum": 1.0}]
    inputs = {"x": {"dtype": "float32", "shape": []}}
    (path / "transform.json").write_text(
        orjson.dumps({"inputs": inputs, "steps": steps, "outputs": ["y"]}).decode()
    )
    return "transform", {"x": ("FP32", np.array([7, 8], np.float32))}, 1.0


def _onnx(path: Path) -> Any:
    save(echoes(x=["rows"]), path)
    return "onnx", {"x": ("FP32", np.array([7, 7], np.float32))}, 7.0


@pytest.mark.parametrize("make", [_hashmap, _vocabulary, _transform, _onnx])
@pytest.mark.parametrize("is_json", [True, False])
def test_kinds_answer_as_they_answer_any_record(tmp_path: Path, make: Any, is_json: bool) -> None:
    """Of two rows, in the datatype that the signature declares."""
    kind, tensors, wanted = make(tmp_path)
    version = ServableData(ServableId("model", 1), StoragePath(str(tmp_path)))
    loader = load_kind(kind)({}, ServablesInMemory()).adapt_one_version(version).payload
    loader.load_with_id(version.id)
    listed = [
        {"name": n, "datatype": d, "shape": a.shape, "data": _texts(a)}
        for n, (d, a) in tensors.items()
    ]
    record = in_json(inputs=listed) if is_json else in_protobuf(a_request(True, **tensors))

    (outcome,) = Line(loader.servable).run(record).values()

    (column,) = result_of(outcome).value.values()
    assert column.tolist() == [wanted, wanted]
    loader.unload()
