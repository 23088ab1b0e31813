"""A record's answer is the same alone and in every batch, on the assembled stages.

Signatures are random mixes of inputs and outputs that belong to a row, to the call, to the batch,
or of which it cannot be told; records come in all forms, some of them at fault. Each batch is
predicted and encoded as a whole, in another order, padded, and record by record.
"""

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.servables.not_by_row import NUMBERS, TEXTS, Computing
from tests.support.stages.examples import examples
from tests.support.stages.outcomes import a_predictor, outcomes, outcomes_of
from tests.support.stages.records import a_request
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls.lone_answers import MAX_RECORDS
from topicserve.worker.stages.request import Request

Array = NDArray[Any]
EXAMPLES = 2000 if os.environ.get("TOPICSERVE_CHAOS") else 250
# The others have one input, or what a body of a user's own makes of them.
FORMS = [Form.INSTANCE, Form.INSTANCES, Form.INPUTS, Form.TENSORS]
DTYPES = [np.dtype(np.float32), np.dtype(np.int64), np.dtype(object)]
POISON = 7
# What a servable of these tests gives where its output's scope is not known.
BY_ROW, CONSTANT, TOTAL = "by row", "constant", "total"


def number_of(item: Any) -> float:
    """Return a number for a value of any dtype."""
    return float(len(item)) * 1.5 if isinstance(item, bytes) else float(item)


def total(array: Array) -> float:
    """Return a number that another order of the elements would change."""
    numbers = [number_of(item) for item in array.ravel().tolist()]
    return sum(n * (i + 1) for i, n in enumerate(numbers)) + array.ndim


class Mixing:
    """Answers by row, by call and by batch, as its signature says. Refuses a poisoned row."""

    def __init__(self, signature: Signature, behaviours: dict[str, str]) -> None:
        self.signatures = {"serving_default": signature}
        self._behaviours = behaviours
        self.sizes: list[int] = []

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        signature = self.signatures[signature_name]
        by_row = {n: c for n, c in inputs.items() if signature.inputs[n].scope is Scope.ROW}
        if any(POISON in column for column in by_row.values() if not column.dtype.hasobject):
            raise InvalidArgumentError("poison")
        of_call = sum(total(c) for n, c in inputs.items() if n not in by_row)
        rows = len(next(iter(by_row.values()), np.zeros(2)))
        each = np.full(rows, of_call, np.float32)
        for column in by_row.values():
            each += np.array([total(row) for row in column], np.float32)
        self.sizes.append(rows)
        return {
            name: self._output(name, spec, each, of_call)
            for name, spec in signature.outputs.items()
        }

    def _output(self, name: str, spec: TensorSpec, each: Array, of_call: float) -> Array:
        kind = {Scope.ROW: BY_ROW, Scope.CALL: CONSTANT, Scope.BATCH: TOTAL}.get(
            spec.scope, self._behaviours.get(name, TOTAL)
        )
        numbers = each if kind == BY_ROW else np.full(3, of_call, np.float32)
        if kind == TOTAL:
            numbers = np.asarray(each.sum() + len(each) * 100, np.float32)
        if spec.dtype.hasobject:
            texts = np.empty(numbers.shape, object)
            texts[...] = np.vectorize(lambda n: str(n).encode(), otypes=[object])(numbers)
            return texts
        with np.errstate(invalid="ignore"):
            return numbers.astype(spec.dtype)


class SelectiveMixing(Mixing):
    """The same, but computes only what is asked for."""

    def predict_outputs(self, inputs: Columns, signature_name: str, outputs: Any) -> Columns:
        found = self.predict(inputs, signature_name)
        return {name: found[name] for name in outputs}


@dataclass
class Case:
    """A servable, the records of a batch, and how batches are made."""

    servable: Any
    requests: list[Request]
    shuffled: list[Request]
    allowed_sizes: tuple[int, ...]


SHAPES: dict[Scope, list[Any]] = {
    Scope.ROW: [(), (2,), (None,), None],
    Scope.CALL: [(), (2,), (2,)],
    Scope.UNKNOWN: [None, (2,), (None, 2)],
}
JOINING = [Scope.ROW, Scope.CALL]


@st.composite
def a_signature(draw: Any) -> Signature:
    """Draw a signature; more than half of them have rows alone, or rows and call inputs."""
    joins = draw(st.booleans())
    inputs = {
        name: _spec(draw, draw(st.sampled_from(JOINING if joins else list(SHAPES))))
        for name in draw(st.sampled_from(["x", "xz", "xyz"]))
    }
    if draw(st.integers(0, 3)):
        inputs["x"] = _spec(draw, Scope.ROW)
    scopes = JOINING if joins else [*JOINING, Scope.BATCH, Scope.UNKNOWN]
    if all(spec.scope is not Scope.ROW for spec in inputs.values()):
        scopes = [Scope.CALL, Scope.BATCH, Scope.UNKNOWN]
    outputs = {
        name: TensorSpec(draw(st.sampled_from(DTYPES)), None, draw(st.sampled_from(scopes)))
        for name in draw(st.sampled_from(["p", "pq", "pqr"]))
    }
    return Signature(inputs, outputs)


def _spec(draw: Any, scope: Scope) -> TensorSpec:
    return TensorSpec(draw(st.sampled_from(DTYPES)), draw(st.sampled_from(SHAPES[scope])), scope)


def _value(draw: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Return an array of few different values, so that records often agree in some."""
    pool: list[Any] = [1, 2, 1, 2, 1, 2, POISON] if dtype.kind != "f" else [0.5, 2, POISON, np.nan]
    pool = [b"a", b"bc"] if dtype.hasobject else pool
    array = np.empty(shape, dtype)
    array[...] = draw(st.sampled_from(pool))
    if array.size > 1 and draw(st.booleans()):
        array.flat[0] = pool[0]
    return array


def _shape(draw: Any, spec: TensorSpec) -> tuple[int, ...]:
    if spec.shape is None:
        shape: tuple[int, ...] = draw(st.sampled_from([(), (2,), (1, 2)]))
        return shape
    return tuple(draw(st.sampled_from([1, 2, 3])) if n is None else n for n in spec.shape)


@st.composite
def a_record(draw: Any, signature: Signature) -> Request:
    """Draw a record in any form, now and then at fault."""
    form = draw(st.sampled_from(FORMS))
    rows = 1 if form is Form.INSTANCE else draw(st.sampled_from([1, 1, 2, 3]))
    by_row = form in (Form.INSTANCE, Form.INSTANCES)
    values: dict[str, Any] = {}
    for name, spec in signature.inputs.items():
        shape = _shape(draw, spec)
        if spec.scope is Scope.ROW:
            values[name] = _value(draw, spec.dtype, (rows, *shape))
        elif by_row:
            one = _value(draw, spec.dtype, shape)
            # Now and then the rows of a record differ where they must not.
            others = _value(draw, spec.dtype, shape) if draw(st.integers(0, 9)) == 0 else one
            values[name] = np.stack([one, *[others] * (rows - 1)])
        else:
            values[name] = _value(draw, spec.dtype, shape)
    if draw(st.integers(0, 14)) == 0:
        values["odd"] = np.zeros((rows, 2), np.float32)
    if form is Form.TENSORS:
        names = sorted(signature.outputs)
        wanted = draw(st.lists(st.sampled_from([*names, "potato"]), max_size=2))
        return a_request(values, form=form, rows=99, output_filter=tuple(wanted))
    plain = {name: _plain(array) for name, array in values.items()}
    if form is Form.INPUTS:
        return a_request(plain, form=form, rows=99)
    objects = [{name: column[index] for name, column in plain.items()} for index in range(rows)]
    if form is Form.INSTANCE:
        text = {name: _text(value) for name, value in objects[0].items()}
        return a_request(text)
    return a_request(objects, form=form, rows=rows)


def _plain(array: Array) -> Any:
    return array.tolist()


def _text(node: Any) -> Any:
    if isinstance(node, list):
        return [_text(item) for item in node]
    return node.decode() if isinstance(node, bytes) else node


@st.composite
def cases(draw: Any) -> Case:
    """Draw a servable and a batch of records for it."""
    signature = draw(a_signature())
    behaviours = {
        name: draw(st.sampled_from([BY_ROW, CONSTANT, TOTAL])) for name in signature.outputs
    }
    kind = draw(st.sampled_from([Mixing, SelectiveMixing]))
    requests = draw(st.lists(a_record(signature), min_size=1, max_size=7))
    return Case(
        kind(signature, behaviours),
        requests,
        draw(st.permutations(requests)),
        draw(st.sampled_from([(4, 8, 32), (16, 64)])),
    )


@pytest.mark.slow
def test_an_answer_is_the_same_in_any_company(record_property: Any) -> None:
    """Whatever the signature, the forms, the neighbours, their order, and the padding."""
    counts: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(cases())
    def run(case: Case) -> None:
        alone: dict[str, Any] = {}
        for request in case.requests:
            alone |= outcomes(case.servable, [request])
        for requests in (case.requests, case.shuffled):
            for sizes in ((), case.allowed_sizes):
                assert outcomes(case.servable, requests, sizes) == alone
        for stop in range(2, len(case.requests)):
            assert outcomes(case.servable, case.requests[:stop]).items() <= alone.items()
        # Outputs of which no declaration tells are looked at by calls of their own.
        looking = a_predictor(case.servable, case.allowed_sizes, check_batches=3)
        seen_alone: dict[str, Any] = {}
        for request in case.requests:
            seen_alone |= outcomes_of(looking, [request])
        assert outcomes_of(looking, case.shuffled) == seen_alone
        signature = case.servable.signatures["serving_default"]
        counts["records"] += len(case.requests)
        counts["answered"] += sum(isinstance(one, bytes) for one in alone.values())
        counts["signatures that join records"] += signature.joins_records
        counts["signatures that join none"] += not signature.joins_records
        for request in case.requests:
            counts[request.input.form.value] += isinstance(alone[request.input.record_id], bytes)

    run()

    print(dict(counts))
    record_property("cases", dict(counts))
    assert min(counts.values()) >= EXAMPLES // 25, counts


@settings(
    max_examples=examples(EXAMPLES // 2), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(cases())
def test_an_answer_alone_is_what_the_servable_says(case: Case) -> None:
    """Protobuf gets the very tensors of a call with its own, as from TF Serving."""
    from topicserve.wire.protobuf_codec import decode_predict_response

    for request in case.requests:
        if request.input.form is not Form.TENSORS:
            continue
        answer = outcomes(case.servable, [request])[request.input.record_id]
        if not isinstance(answer, bytes):
            continue
        wanted = request.input.output_filter
        said = case.servable.predict(request.input.content)
        found = decode_predict_response(answer).columns
        assert found.keys() == (set(wanted) or said.keys())
        for name, column in found.items():
            np.testing.assert_array_equal(column, said[name])


@st.composite
def secret_cases(draw: Any) -> tuple[Computing, list[list[Request]], tuple[int, ...]]:
    """Draw a servable whose rows depend on one another undeclared, and batches of records."""
    name = draw(st.sampled_from([*NUMBERS, *TEXTS]))
    values = st.sampled_from(["", "a", "b", "a b", "aa b a"] if name in TEXTS else [0, 1, 2, 5])

    def record(draw: Any) -> Request:
        form = draw(st.sampled_from(FORMS))
        if form is Form.INSTANCE:
            return a_request(draw(values))
        column = draw(st.lists(values, min_size=1, max_size=3))
        if form is not Form.TENSORS:
            return a_request(column, form=form, rows=len(column))
        kind: Any = object if name in TEXTS else np.float32
        items = [v.encode() if isinstance(v, str) else v for v in column]
        return a_request({"x": np.array(items, kind)}, form=form, rows=len(column))

    batch = st.lists(st.composite(record)(), min_size=1, max_size=MAX_RECORDS)
    compute = (NUMBERS | TEXTS)[name]
    batches = draw(st.lists(batch, min_size=1, max_size=4))
    return Computing(compute), batches, draw(st.sampled_from([(), (2, 8, 16)]))


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(secret_cases())
def test_rows_that_secretly_depend_on_one_another(
    case: tuple[Computing, list[list[Request]], tuple[int, ...]],
) -> None:
    """While all records of each batch are checked, every answer is that of the record alone.

    So it is where a batch has at most MAX_RECORDS records and there were no more batches than are
    checked. In a longer batch a difference is seen where one of the sampled records shows it.
    """
    servable, batches, sizes = case
    predictor = a_predictor(servable, sizes, check_batches=len(batches))
    for requests in batches:
        alone: dict[str, Any] = {}
        for request in requests:
            alone |= outcomes(servable, [request])
        assert outcomes_of(predictor, requests) == alone


def test_equal_call_inputs_share_a_call_and_others_do_not() -> None:
    """Records are only kept apart where they must be."""
    signature = Signature(
        {
            "x": TensorSpec(np.dtype(np.float32), ()),
            "keep": TensorSpec(np.dtype(np.float32), (), Scope.CALL),
        },
        {"y": TensorSpec(np.dtype(np.float32), ())},
    )
    servable = Mixing(signature, {})
    requests = [a_request({"x": n, "keep": n % 2}) for n in range(6)]

    outcomes(servable, requests)

    assert servable.sizes == [3, 3]
