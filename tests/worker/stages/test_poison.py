"""Whatever a record, a servable or the store says is answered, or that record alone rejected."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.stages.examples import examples
from tests.support.stages.poison import (
    SIGNATURES,
    Answering,
    Echo,
    Line,
    body,
    check_alone,
    found,
    good,
    message_of,
    odd,
    reason_of,
)
from tests.support.stages.records import a_kafka_record, an_id
from topicserve.protos.predict_pb2 import PredictRequest
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.config.schema import LimitsConfig

PROTOBUF = [("content-type", b"application/x-protobuf")]


def tensor(dtype: int = 1, sizes: tuple[int, ...] = (1, 3), **values: Any) -> bytes:
    """Return a request of one input, whose tensor says this."""
    request = PredictRequest()
    found = request.inputs["x"]
    found.dtype = dtype  # type: ignore[assignment]
    for size in sizes:
        found.tensor_shape.dim.add(size=size)
    for name, value in values.items():
        if isinstance(value, bytes):
            setattr(found, name, value)
        else:
            getattr(found, name).extend(value)
    return request.SerializeToString()


def nested(depth: int, content: bytes = b"1") -> bytes:
    """Return lists in lists."""
    return b"[" * depth + content + b"]" * depth


JSON_BODIES = {
    "a signature name that is not UTF-8": b'{"signature_name":"\xff\xfe","instances":[[1,2,3]]}',
    "numbers among a long string": body(
        {"signature_name": "any", "instances": ["x" * 200_000, *[0] * 200_000]}
    ),
    "strings that are nested too deeply": b'{"signature_name":"strings","instance":%b}'
    % nested(64, b'"a"'),
    "a number that is nested too deeply": b'{"signature_name":"any","instances":%b}' % nested(65),
    "rows that are ragged": body({"signature_name": "any", "instances": [[1], [1, 2]]}),
    "an integer without end": b'{"signature_name":"any","instance":%b}' % (b"9" * 5000),
    "names without end": body({"signature_name": "mixed", "instance": {"a" * 100_000: 1}}),
    "a hundred thousand names": body(
        {"signature_name": "mixed", "instance": {str(n): 1 for n in range(100_000)}}
    ),
    "a long name around many rows": body({"inputs": {"n" * 500_000: [[]] * 100_000}}),
    "a signature name without end": body({"signature_name": "s" * 500_000, "instances": [[1]]}),
    "b64 that is none": b'{"signature_name":"strings","instance":{"b64":"%%%"}}',
    "an object where a number was expected": body({"instance": [{}, [], None]}),
    "a string without end behind a token": b'{"instances":[NaN' + b'"\\' * 500_000,
    "many lists within lists": b'{"instances":[{"b64":"%%"},%b]}'
    % b",".join([nested(60, b"")] * 8000),
    "no body": b"",
}
TENSORS = {
    "300 dimensions": tensor(sizes=(2**63 - 1,) * 300),
    "a shape that no memory has": tensor(sizes=(2**62, 4), float_val=[1.0]),
    "no elements and huge sizes": tensor(sizes=(1, 2**39, 0)),
    "a negative size": tensor(sizes=(-1, 3), float_val=[1.0]),
    "a scalar": tensor(sizes=(), float_val=[1.0]),
    "no rows": tensor(sizes=(0, 3)),
    "a value that unfolds": tensor(sizes=(1, 2**35), float_val=[1.0]),
    "too many values": tensor(sizes=(1, 1), float_val=[1.0] * 9),
    "a type that is none": tensor(dtype=99),
    "an integer that its type does not hold": tensor(dtype=6, sizes=(1, 1), int_val=[2**31 - 1]),
    "content that is cut": tensor(tensor_content=b"\0" * 5),
    "strings that are cut": tensor(
        dtype=7, sizes=(1, 2), tensor_content=b"\xff\xff\xff\xff\xff\x01"
    ),
    "no message": b"\xff\xff",
}


@pytest.mark.parametrize("value", JSON_BODIES.values(), ids=JSON_BODIES)
def test_a_json_body_is_refused_alone(value: bytes) -> None:
    """The good records beside it are answered."""
    outcome = check_alone(Line(), good(1, value=value))

    assert reason_of(outcome) in (
        Reason.INVALID_RECORD,
        Reason.INVALID_INPUT,
        Reason.UNKNOWN_SIGNATURE,
    )
    assert len(message_of(outcome)) < 2000


@pytest.mark.parametrize("value", TENSORS.values(), ids=TENSORS)
def test_a_protobuf_body_is_refused_alone(value: bytes) -> None:
    """The good records beside it are answered."""
    outcome = check_alone(Line(), good(1, value=value, headers=PROTOBUF))

    assert reason_of(outcome) in (Reason.INVALID_RECORD, Reason.INVALID_INPUT)
    assert len(message_of(outcome)) < 2000


LIMITS: list[tuple[str, LimitsConfig, KafkaRecord]] = [
    (
        "limits.max_headers allows 100",
        LimitsConfig(max_headers=100),
        good(1, headers=[("tracestate", b"v")] * 100),
    ),
    (
        "limits.max_header_bytes allows 1000",
        LimitsConfig(max_header_bytes=1000),
        good(1, headers=[("other", b"v" * 1000)]),
    ),
    (
        "limits.max_name_bytes allows 16",
        LimitsConfig(max_name_bytes=16),
        good(1, headers=[("ce_servablelabel", "ä".encode() * 9)]),
    ),
    (
        "limits.max_name_bytes allows 16",
        LimitsConfig(max_name_bytes=16),
        good(1, value=body({"signature_name": "s" * 17, "instances": [1]})),
    ),
    (
        "limits.max_nesting_depth allows 4",
        LimitsConfig(max_nesting_depth=4),
        good(1, value=b'{"instances":%b}' % nested(6)),
    ),
    (
        "limits.max_nesting_depth allows 4",
        LimitsConfig(max_nesting_depth=4),
        good(1, value=b'{"instance":%b}' % nested(6)),
    ),
    (
        "limits.max_dimensions allows 2",
        LimitsConfig(max_dimensions=2),
        good(1, value=tensor(sizes=(1, 1, 3)), headers=PROTOBUF),
    ),
    (
        "limits.max_unfolded_bytes allows 1000",
        LimitsConfig(max_unfolded_bytes=1000),
        good(1, value=tensor(sizes=(1, 3000), float_val=[1.0]), headers=PROTOBUF),
    ),
    (
        "limits.max_inputs allows 2",
        LimitsConfig(max_inputs=2),
        good(
            1,
            value=PredictRequest(output_filter=["a", "b", "c"]).SerializeToString(),
            headers=PROTOBUF,
        ),
    ),
]


@pytest.mark.parametrize(("told", "limits", "record"), LIMITS, ids=[told for told, *_ in LIMITS])
def test_a_record_over_a_limit_is_told_its_key(
    told: str, limits: LimitsConfig, record: KafkaRecord
) -> None:
    """And what it allows."""
    outcome = check_alone(Line(limits=limits), record)

    assert reason_of(outcome) is Reason.INVALID_RECORD
    assert told in message_of(outcome)


class BadError(Exception):
    """An error whose message cannot be made."""

    def __str__(self) -> str:
        raise ValueError("no")


class BadCodeError(InvalidArgumentError):
    """An error with a status code of its own."""

    code = "x" * 10_000


def raising(error: BaseException) -> Callable[[int], Any]:
    """Return an answer that is an error."""

    def answer(rows: int) -> Any:  # noqa: ARG001
        raise error

    return answer


def column(dtype: Any, *row: int) -> Callable[[int], Any]:
    """Return an answer of one output of this dtype and row shape."""
    return lambda rows: {"y": np.zeros((rows, *row), dtype)}


def objects(item: Any) -> Callable[[int], Any]:
    """Return an answer of one output whose elements are all this."""

    def answer(rows: int) -> Any:
        array = np.empty(rows, object)
        for index in range(rows):
            array[index] = item
        return {"y": array}

    return answer


ANSWERS: dict[str, Callable[[int], Any]] = {
    "None": lambda _: None,
    "a list": lambda rows: [1] * rows,
    "a scalar": lambda _: 3,
    "a string": lambda _: "y",
    "no outputs": lambda _: {},
    "a dict of lists": lambda rows: {"y": [1] * rows},
    "a dict of None": lambda _: {"y": None},
    "a name that is no string": lambda rows: {7: np.zeros(rows)},
    "a name that is no text": lambda rows: {"\ud800": np.zeros(rows)},
    "a column without rows": lambda _: {"y": np.float32(1)},
    "a row too few": lambda rows: {"y": np.zeros(rows - 1)},
    "a row too many": lambda rows: {"y": np.zeros(rows + 1)},
    "a structured dtype": column([("a", "i4")]),
    "a void dtype": column("V8"),
    "a datetime dtype": column("M8[s]"),
    "a timedelta dtype": column("m8[s]"),
    "a long double": column(np.longdouble),
    "rows that are repeated without end": lambda rows: {
        "y": np.broadcast_to(np.zeros((rows, 1), np.int8), (rows, 2**40))
    },
    "empty lists without end": column(np.float32, 2**39, 0),
    "objects that are numbers": objects(7),
    "objects that are None": objects(None),
    "objects that are lists": objects([b"a"]),
    "objects that are no text": objects("\ud800"),
    "SystemExit": raising(SystemExit(0)),
    "KeyboardInterrupt": raising(KeyboardInterrupt()),
    "GeneratorExit": raising(GeneratorExit()),
    "BaseException": raising(BaseException("odd")),
    "MemoryError": raising(MemoryError()),
    "RecursionError": raising(RecursionError()),
    "StopIteration": raising(StopIteration()),
    "an error without message": raising(BadError()),
    "an error with a code of its own": raising(BadCodeError("x" * 100_000)),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_whatever_a_servable_answers_fails_that_record_alone(answer: Callable[[int], Any]) -> None:
    """The good records of its batch are answered, in a bounded number of calls."""
    servable = Answering(answer)

    outcome = check_alone(Line(servable), odd())

    assert reason_of(outcome) is Reason.PREDICT_FAILED
    assert len(message_of(outcome)) < 2000
    assert servable.calls <= 5


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_servable_that_is_wrong_for_all_fails_each_record(answer: Callable[[int], Any]) -> None:
    """Twice as many calls as records, at the most."""
    servable = Answering(answer)
    line = Line(servable)

    outcomes = line.run(*[odd(offset) for offset in range(16)])

    assert {reason_of(outcome) for outcome in outcomes.values()} == {Reason.PREDICT_FAILED}
    assert len(outcomes) == 16
    assert servable.calls < 32


def test_complex_numbers_fail_the_records_that_came_as_json() -> None:
    """JSON has none; tensors do."""
    line = Line(Answering(column(np.complex64)))
    tensors = tensor(sizes=(1, 3), float_val=[13.0, 2.0, 3.0])

    outcomes = line.run(odd(0), good(1, value=tensors, headers=PROTOBUF))

    assert reason_of(outcomes[0]) is Reason.PREDICT_FAILED
    assert reason_of(outcomes[1]) is None


class OddSignatures(Echo):
    """A servable whose signatures are anything."""

    def __init__(self, say: Callable[[], Any]) -> None:
        self.say = say

    @property
    def signatures(self) -> Any:
        return self.say()


ODD_SIGNATURES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a list": lambda: ["serving_default"],
    "no Signature": lambda: {"serving_default": 7},
    "names that are no strings": lambda: {7: 8, "x": 9},
    "SystemExit": lambda: raising(SystemExit(0))(0),
    "an error without message": lambda: raising(BadError())(0),
}


@pytest.mark.parametrize("say", ODD_SIGNATURES.values(), ids=ODD_SIGNATURES)
def test_odd_signatures_fail_the_records(say: Callable[[], Any]) -> None:
    """They are the servable's fault, and end nothing."""
    outcomes = Line(OddSignatures(say)).run(good(0), good(1))

    assert {reason_of(outcome) for outcome in outcomes.values()} == {Reason.PREDICT_FAILED}


METADATA: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "a number": b"7",
    "not UTF-8": b'{"a":"\xff"}',
    "half a surrogate pair": b'{"a":"\\ud800"}',
    "nested deeply": b'{"a":%b}' % nested(1000),
    "nested too deeply for its readers": b'{"a":%b}' % nested(300),
    "nested without end": b'{"a":' * 100_000,
    "too large": b'{"a":"%b"}' % (b"x" * 2_000_000),
    "no bytes": 7,
    "infinity": b'{"a":1e999}',
}


@pytest.mark.parametrize("content", METADATA.values(), ids=METADATA)
def test_metadata_that_no_result_can_carry_is_refused_alone(content: Any) -> None:
    """The records beside it get theirs."""
    metadata = {**found([0, 2], b'{"a":1}'), **found([1], content)}

    outcome = check_alone(Line(metadata=metadata), good(1))

    assert reason_of(outcome) is Reason.METADATA_INVALID
    assert len(message_of(outcome)) < 2000


def test_metadata_over_the_limit_is_told_its_key() -> None:
    """And what it allows."""
    metadata = found([0, 1, 2], b"{}") | found([1], b'{"a":1234567}')
    line = Line(metadata=metadata, limits=LimitsConfig(max_metadata_bytes=8))

    outcome = check_alone(line, good(1))

    assert reason_of(outcome) is Reason.METADATA_INVALID
    assert "limits.max_metadata_bytes allows 8" in message_of(outcome)


def test_metadata_goes_into_the_result_as_it_is() -> None:
    """Also names that occur twice, which JSON allows."""
    outcome = check_alone(Line(metadata=found([1], b'{"a":1,"a":2}')), good(1))

    assert b'"metadata":{"a":1,"a":2}' in (outcome.value or b"")


fuzzed = settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
names = st.sampled_from(
    (
        *("ce_id", "ce_type", "ce_specversion", "ce_source", "content-type", "ce_servable"),
        *("ce_servableversion", "ce_servablelabel", "ce_signature", "ce_deadline", "ce_metadata"),
        *("traceparent", "tracestate", "x", ""),
    )
)
values = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from([b"digits", b"any", b"strings", b"mixed", b"application/x-protobuf", b"1"]),
)
LINE = Line()


@fuzzed
@given(st.lists(st.tuples(names, values), max_size=6), st.booleans())
def test_any_headers_are_answered_or_refused_alone(
    headers: list[tuple[str, bytes | None]], alone: bool
) -> None:
    """Behind a good record's own, or instead of them."""
    record = good(1, headers=headers)
    if alone:
        record = KafkaRecord("in", 0, 1, 0, None, b"{}", headers)

    check_alone(LINE, record)


json_values: Any = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["", "a", "b64", "NaN", "x", "n", "s", "b"]),
        st.text(st.characters(codec="utf-8"), max_size=4),
    ),
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(st.sampled_from(["x", "n", "s", "b", "b64", ""]), children, max_size=4),
    ),
    max_leaves=12,
)


@fuzzed
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "instances": json_values,
            "instance": json_values,
            "inputs": json_values,
            "signature_name": st.sampled_from([*SIGNATURES, ""]),
        },
    )
)
def test_any_json_is_answered_or_refused_alone(tree: Mapping[str, Any]) -> None:
    """Whatever it holds, for whatever signature."""
    check_alone(LINE, good(1, value=body(tree)))


@fuzzed
@given(
    st.sampled_from([*JSON_BODIES.values(), *TENSORS.values(), body({"instance": [1, 2, 3]})]),
    st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=3)), max_size=4),
    st.sampled_from([b"application/json", b"application/x-protobuf"]),
)
def test_any_bytes_are_answered_or_refused_alone(
    value: bytes, changes: list[tuple[float, bytes]], content_type: bytes
) -> None:
    """Known bad bodies, changed in places."""
    for place, change in changes:
        at = int(place * len(value))
        value = value[:at] + change + value[at + len(change) :]

    check_alone(LINE, good(1, value=value, headers=[("content-type", content_type)]))


sizes = st.one_of(st.integers(-2, 5), st.sampled_from([2**20, 2**31, 2**39, 2**62]))


@fuzzed
@given(
    st.integers(0, 30),
    st.lists(sizes, max_size=5),
    st.dictionaries(
        st.sampled_from(["float_val", "double_val", "int_val", "int64_val", "bool_val"]),
        st.lists(st.integers(0, 1), max_size=4),
        max_size=2,
    ),
    st.one_of(st.just(b""), st.binary(max_size=24)),
    st.sampled_from([*SIGNATURES]),
    st.sampled_from(["x", "n"]),
)
def test_any_tensor_is_answered_or_refused_alone(
    dtype: int, dims: list[int], given: dict[str, list[int]], content: bytes, name: str, to: str
) -> None:
    """Whatever type, shape and values it says it has."""
    value = tensor(dtype, tuple(dims), tensor_content=content, **given)
    request = PredictRequest.FromString(value)
    request.model_spec.signature_name = name
    if to != "x":
        request.inputs[to].CopyFrom(request.inputs["x"])
        del request.inputs["x"]

    check_alone(LINE, good(1, value=request.SerializeToString(), headers=PROTOBUF))


dtypes = st.sampled_from(
    [
        "?",
        "i1",
        "u8",
        "f2",
        ">f4",
        "<f8",
        "c8",
        "c16",
        "g",
        "O",
        "S3",
        "U2",
        "V4",
        "M8[s]",
        "q",
        "Q",
    ]
)
items = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.binary(max_size=3),
    st.text(max_size=3),
    st.just("\udc80"),
)


@st.composite
def outputs(draw: st.DrawFn) -> Any:
    """Return what a servable may return for one row."""
    made: dict[Any, Any] = {}
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.one_of(st.text(max_size=4), st.integers(), st.just("\ud800")))
        if draw(st.booleans()):
            made[name] = draw(items)
            continue
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        array = np.zeros((1, *shape), draw(dtypes))
        if array.dtype == object:
            array.fill(draw(items))
        made[name] = array
    return made


@fuzzed
@given(outputs())
def test_any_outputs_are_written_or_fail_that_record_alone(made: Any) -> None:
    """As JSON and as protobuf."""

    def answer(rows: int) -> Any:
        if rows > 1:
            raise InvalidArgumentError("one at a time")
        return made

    check_alone(Line(Answering(answer)), odd())
    tensors = tensor(sizes=(1, 3), float_val=[13.0, 2.0, 3.0])
    check_alone(Line(Answering(answer)), good(1, value=tensors, headers=PROTOBUF))


@fuzzed
@given(st.one_of(st.binary(max_size=30), json_values.map(body)))
def test_any_metadata_is_joined_or_refused_alone(content: bytes) -> None:
    """Whatever the store has under the record's id."""
    check_alone(Line(metadata={an_id(1): content}), a_kafka_record(1, [1.0, 2.0, 3.0]))


def test_every_stage_can_be_fuzzed_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make chaos` runs these properties for an hour, and says how many cases that were."""
    from tests.support.stages import fuzz_stages

    monkeypatch.setattr(fuzz_stages, "CORPUS", tmp_path)
    # Others import TensorFlow.
    monkeypatch.setattr(fuzz_stages, "FOLDERS", ())
    monkeypatch.setattr(fuzz_stages, "MODULES", ["tests/worker/stages/test_poison.py"])

    cases, failed = fuzz_stages.fuzz(seconds=0.001, round_examples=3)

    assert (cases, failed) == (3, {})
