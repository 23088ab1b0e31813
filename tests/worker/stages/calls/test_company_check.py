"""Records of a signature whose rows depend on one another share no call after the first."""

import gc
import itertools
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from tests.support.servables.not_by_row import (
    NUMBERS,
    TEXTS,
    Array,
    Computing,
    flat_words,
    minus_mean,
    softmax,
)
from tests.support.servables.servables import Doubling
from tests.support.stages.outcomes import a_predictor, outcomes, outcomes_of
from tests.support.stages.records import a_request
from topicserve.servables.core.errors import InternalError, UnavailableError
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form
from topicserve.worker.config.schema import BatchingConfig
from topicserve.worker.stages.calls import company_check
from topicserve.worker.stages.calls.calls import ServableUnavailableError
from topicserve.worker.stages.calls.company_check import (
    MAX_SIGNATURES,
    RECHECK_CALLS,
    REMEDY,
    CompanyCheck,
)
from topicserve.worker.stages.request import Request
from topicserve.worker.telemetry.metrics import WorkerMetrics

DIGITS = {"servable": "digits"}
ALL = {**NUMBERS, **TEXTS}
VALUES: dict[bool, list[Any]] = {
    False: [3.0, 1.0, 2.0, 40.0, 7.0, 9.0, 12.0],
    True: ["a b", "", "aa", "a long text", "a", "a a a", "no"],
}


def lone_rows(values: list[Any]) -> list[Request]:
    """Return a JSON record a value."""
    return [a_request(value) for value in values]


def mixed_forms(values: list[Any]) -> list[Request]:
    """Return records in all forms, of one row and of two."""
    array = [np.array([v.encode() if isinstance(v, str) else v]) for v in values]
    tensors = [one.astype(object if one.dtype.kind == "S" else np.float32) for one in array]
    return [
        a_request(values[0]),
        a_request(values[1:3], form=Form.INPUTS, rows=2),
        a_request(values[3:5], form=Form.INSTANCES, rows=2),
        a_request({"x": tensors[5]}, form=Form.TENSORS),
        a_request(values[6]),
    ]


@pytest.mark.parametrize("make", [lone_rows, mixed_forms])
@pytest.mark.parametrize("sizes", [(), (2, 16)], ids=["unpadded", "padded"])
@pytest.mark.parametrize("name", ALL)
def test_all_answers_of_the_first_batch_are_those_alone(
    name: str, sizes: tuple[int, ...], make: Any
) -> None:
    """Also where the number of rows is right by chance, and of all batches after it."""
    servable = Computing(ALL[name])
    values = VALUES[name in TEXTS]
    predictor = a_predictor(servable, sizes, check_batches=1)

    for order in (values, values[::-1], values[3:] + values[:3]):
        requests = make(order)
        alone: dict[str, Any] = {}
        for request in requests:
            alone |= outcomes(servable, [request])
        assert outcomes_of(predictor, requests) == alone


@pytest.mark.parametrize("name", ALL)
def test_padding_alone_is_company(name: str) -> None:
    """A lone record of a padded call gets what it gets unpadded."""
    servable = Computing(ALL[name])
    predictor = a_predictor(servable, (16,), check_batches=1)
    for value in VALUES[name in TEXTS]:
        request = a_request(value)
        assert outcomes_of(predictor, [request]) == outcomes(servable, [request])


class SoftmaxBeside:
    """A softmax over the call, beside a mask's value, in the output `soft`, beside another one."""

    def __init__(self, other: str) -> None:
        number = np.dtype(np.float32)
        outputs = {other: TensorSpec(number, ()), "soft": TensorSpec(number, (2,))}
        self.signatures = {"serving_default": Signature({"x": TensorSpec(number, ())}, outputs)}
        self.sizes: list[int] = []
        self._other = other
        self._chance = np.random.default_rng(7)

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        assert signature_name in self.signatures
        x = inputs["x"]
        self.sizes.append(len(x))
        noise = self._chance.random(len(x)).astype(np.float32)
        soft = np.stack([softmax(x), np.full(len(x), -1e9, np.float32)], axis=1)
        return {self._other: noise if self._other == "a_noise" else x * 2, "soft": soft}


@pytest.mark.parametrize("other", ["a_noise", "y"])
def test_one_odd_number_hides_no_other_one(other: str) -> None:
    """Neither a mask's huge value in the same output, nor another output that is random."""
    servable = SoftmaxBeside(other)
    predictor = a_predictor(servable, check_batches=1)
    outcomes_of(predictor, lone_rows([1.0, 2.0, 3.0, 4.0, 5.0]))
    servable.sizes.clear()

    outcomes_of(predictor, lone_rows([1.0, 2.0, 3.0]))

    assert servable.sizes == [1, 1, 1]


def test_equal_records_do_not_use_the_check_up() -> None:
    """A health check sent again and again shows nothing of what its neighbours would change."""
    servable = Computing(minus_mean)
    predictor = a_predictor(servable, check_batches=2)
    for _ in range(5):
        outcomes_of(predictor, lone_rows([7.0] * 4))
    checked = len(servable.sizes)
    requests = lone_rows([1.0, 2.0, 30.0])
    alone: dict[str, Any] = {}
    for request in requests:
        alone |= outcomes(Computing(minus_mean), [request])

    assert outcomes_of(predictor, requests) == alone
    assert checked == 2 * 5 + 3  # equal ones are checked, but no more often than others


class Padding:
    """Gives the codes of each text's letters, padded to the longest of the call."""

    def __init__(self) -> None:
        inputs = {"x": TensorSpec(np.dtype(object), ())}
        outputs = {"y": TensorSpec(np.dtype(np.float32), (None,))}
        self.signatures = {"serving_default": Signature(inputs, outputs)}
        self.sizes: list[int] = []

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        assert signature_name in self.signatures
        texts: Array = inputs["x"]
        self.sizes.append(len(texts))
        width = max(len(text) for text in texts)
        return {"y": np.array([[*text.ljust(width)] for text in texts], np.float32)}


def test_a_shape_that_was_never_checked_is_checked() -> None:
    """Texts of one letter say nothing of longer ones, which are padded."""
    servable = Padding()
    predictor = a_predictor(servable, check_batches=1)
    for _ in range(3):
        outcomes_of(predictor, lone_rows(["a", "b"]))
    servable.sizes.clear()

    outcomes_of(predictor, lone_rows(["a", "abc"]))
    outcomes_of(predictor, lone_rows(["a", "abc"]))

    assert servable.sizes[0] == 2
    assert servable.sizes[-2:] == [1, 1]


def test_a_call_is_checked_again_now_and_then() -> None:
    """What the first batches did not show is found some time."""
    servable = Doubling()
    predictor = a_predictor(servable, check_batches=1)
    for _ in range(RECHECK_CALLS):
        outcomes_of(predictor, lone_rows([1.0, 2.0]))

    assert servable.sizes == [2, 1, 1] + [2] * (RECHECK_CALLS - 2) + [2, 1, 1]


def test_rows_that_are_independent_stay_joined() -> None:
    """No more than so many batches are checked, with four records each; lone ones do not count."""
    servable = Doubling()
    predictor = a_predictor(servable, check_batches=3)

    for _ in range(2):
        outcomes_of(predictor, lone_rows([1.0]))
    for _ in range(6):
        outcomes_of(predictor, lone_rows(list(range(100))))

    checked = [100, 1, 1, 1, 1]
    assert servable.sizes == [1, 1, *checked * 3, 100, 100, 100]


class Shifting:
    """Adds one to long rows."""

    def __init__(self, floats: int) -> None:
        spec = TensorSpec(np.dtype(np.float32), (floats,))
        self.signatures = {"serving_default": Signature({"x": spec}, {"y": spec})}

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        assert signature_name in self.signatures
        return {"y": inputs["x"] + 1}


def test_large_answers_that_are_equal_are_compared_bit_by_bit() -> None:
    """In no wider numbers: a check takes a fraction of the memory that a batch does."""
    floats, records = 64 * 1024, 16
    rows = np.arange(records * floats, dtype=np.float32).reshape(records, 1, floats)
    peaks = []
    for batches in (0, 8):
        predictor = a_predictor(Shifting(floats), (), check_batches=batches)
        requests = [a_request({"x": row}, form=Form.TENSORS) for row in rows]
        tracemalloc.start()
        outcomes_of(predictor, requests)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] - peaks[0] < rows.nbytes / 2


def test_nothing_is_checked_where_it_is_known() -> None:
    """By the kind, or because the owner of the model vouches for it; and with 0 nowhere."""
    known, off = Computing(minus_mean, rows_are_independent=True), Computing(minus_mean)
    outcomes_of(a_predictor(known, check_batches=8), lone_rows([1.0, 3.0]))
    outcomes_of(a_predictor(off), lone_rows([1.0, 3.0]))

    assert known.sizes == off.sizes == [2]
    assert BatchingConfig().check_batches == 8


def test_wrong_numbers_of_rows_are_never_tried_in_parts() -> None:
    """Half of the records could have the right number by chance, also where nothing is checked."""
    servable = Computing(flat_words, rows_are_independent=True)
    requests = lone_rows(["a b", "", "c d", "e f"])
    alone: dict[str, Any] = {}
    for request in requests:
        alone |= outcomes(servable, [request])

    assert outcomes_of(a_predictor(servable), requests) == alone


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """In the log with the remedy, and in a metric."""
    predictor = a_predictor(Computing(minus_mean), check_batches=8)

    with caplog.at_level("WARNING", "topicserve"):
        for _ in range(3):
            outcomes_of(predictor, lone_rows([1.0, 3.0]))

    (record,) = [one for one in caplog.records if one.msg == "records_kept_apart"]
    assert record.fields == {  # type: ignore[attr-defined]  # set by log_event
        "servable": "digits",
        "version": 1,
        "signature": "serving_default",
        "output": "y",
        "problem": "a record has other values in a call with others than alone",
        "remedy": REMEDY,
    }
    name, labels = "topicserve_unjoined_signatures_total", {"servable": "digits"}
    assert predictor._metrics.registry.get_sample_value(name, labels) == 1


class Moody(Doubling):
    """Fails in calls of some sizes."""

    def __init__(self, *sizes: int, error: Exception, times: int = 10**6) -> None:
        super().__init__()
        self.fails = sizes
        self.problem = error
        self.times = times

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Any:
        outputs = super().predict(inputs, signature_name)
        if len(inputs["x"]) in self.fails and self.times > 0:
            self.times -= 1
            raise self.problem
        return outputs


@pytest.mark.parametrize("fails", [1, 4])
def test_a_call_that_fails_in_one_company_alone_is_another_answer(fails: int) -> None:
    """Where records fail alone only, or together only, they are predicted alone from then on."""
    servable = Moody(fails, error=InternalError("no"))
    predictor = a_predictor(servable, check_batches=8)

    found = outcomes_of(predictor, lone_rows([1.0, 2.0, 3.0, 4.0]))
    servable.sizes.clear()
    outcomes_of(predictor, lone_rows([1.0, 2.0]))

    assert [isinstance(one, bytes) for one in found.values()] == [fails == 4] * 4
    assert servable.sizes == [1, 1]


@pytest.mark.parametrize(("fails", "times"), [(4, 1), (1, 1)])
def test_a_failure_that_does_not_repeat_decides_nothing(fails: int, times: int) -> None:
    """Records stay joined."""
    servable = Moody(fails, error=InternalError("once"), times=times)
    predictor = a_predictor(servable, check_batches=8)
    outcomes_of(predictor, lone_rows([1.0, 2.0, 3.0, 4.0]))
    servable.sizes.clear()

    outcomes_of(predictor, lone_rows([1.0, 2.0]))

    assert servable.sizes[0] == 2


class Beside(Computing):
    """Gives a whole output of the call beside one by row."""

    def __init__(self, compute: Any, whole: Array) -> None:
        super().__init__(compute)
        signature = self.signatures["serving_default"]
        outputs = dict(signature.outputs) | {"w": TensorSpec(whole.dtype, None, Scope.CALL)}
        self.signatures = {"serving_default": replace(signature, outputs=outputs)}
        self.whole = whole

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        return {**super().predict(inputs, signature_name), "w": self.whole}


WHOLE = [
    np.array(0.5, np.float32),
    np.array(float("nan")),
    np.array(1 + 2j, np.complex64),
    np.array(2, ml_dtypes.bfloat16),
    np.array(True),
    np.array(b"ab", object),
    np.array(3, np.int64),
    np.zeros((0, 2), np.float32),
    np.array(["a", "bc"]),
]


@pytest.mark.parametrize("sizes", [(), (16,)], ids=["unpadded", "padded"])
@pytest.mark.parametrize("whole", WHOLE, ids=lambda one: f"{one.dtype.name}{one.shape}")
def test_an_output_for_the_whole_call_switches_no_check_off(
    whole: Array, sizes: tuple[int, ...]
) -> None:
    """Of any dtype, without dimensions or without elements; no record becomes a dead letter."""
    predictor = a_predictor(Beside(minus_mean, whole), sizes, check_batches=2)
    x = [{"x": np.array([value], np.float32)} for value in (1.0, 3.0, 8.0)]
    requests = [a_request(one, form=Form.TENSORS) for one in x]
    alone: dict[str, Any] = {}
    for request in requests:
        alone |= outcomes(Beside(minus_mean, whole), [request])

    for batch in [requests] * 4 + [[request] for request in requests]:
        found = outcomes_of(predictor, batch)
        assert found == {one.input.record_id: alone[one.input.record_id] for one in batch}


@pytest.mark.parametrize("part", ["first_difference", "_are_equal"])
@pytest.mark.parametrize("sizes", [(), (16,)], ids=["unpadded", "padded"])
def test_a_bug_of_the_check_is_no_fault_of_the_servable(
    sizes: tuple[int, ...],
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged with its traceback, and records have calls of their own from then on."""

    def raises(*_: Any, **__: Any) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(company_check, part, raises)
    servable = Computing(minus_mean)
    predictor = a_predictor(servable, sizes, check_batches=2)
    requests = lone_rows([1.0, 3.0, 8.0])
    alone: dict[str, Any] = {}
    for request in requests:
        alone |= outcomes(Computing(minus_mean), [request])

    for _ in range(4):
        assert outcomes_of(predictor, requests) == alone

    assert servable.sizes == [16 if sizes else 3, *[1] * 12]
    assert [one.msg for one in caplog.records if one.levelname == "ERROR"] == [
        "company_check_raised"
    ]
    (bug,) = [one for one in caplog.records if one.msg == "company_check_raised"]
    assert bug.__dict__["fields"] == DIGITS | {"version": 1, "signature": "serving_default"}
    assert bug.exc_info is not None
    assert isinstance(bug.exc_info[1], TypeError)
    registry = predictor._metrics.registry
    assert registry.get_sample_value("topicserve_unjoined_signatures_total", DIGITS) == 1
    assert not registry.get_sample_value(
        "topicserve_predict_failures_total", DIGITS | {"code": "UNKNOWN"}
    )


@pytest.mark.parametrize("error", [UnavailableError("remote"), MemoryError()])
def test_a_passing_failure_decides_nothing(error: Exception) -> None:
    """The batch keeps its answers, and another one is checked in its place."""
    servable = Moody(1, error=error)
    predictor = a_predictor(servable, check_batches=1)

    for _ in range(3):
        found = outcomes_of(predictor, lone_rows([1.0, 2.0]))
        assert all(isinstance(one, bytes) for one in found.values())
    servable.fails = ()
    outcomes_of(predictor, lone_rows([1.0, 2.0]))

    assert servable.sizes == [2, 1, 2, 1, 2, 1, 2, 1, 1]


def test_a_shape_or_a_later_call_is_not_checked_by_a_failure_that_passes() -> None:
    """The next call is checked in its place, as with the first ones."""
    servable = Moody(1, error=UnavailableError("remote"), times=0)
    predictor = a_predictor(servable, check_batches=1)
    for _ in range(RECHECK_CALLS - 1):
        outcomes_of(predictor, lone_rows([1.0, 2.0]))
    servable.sizes.clear()
    servable.times = 2

    for _ in range(4):
        outcomes_of(predictor, lone_rows([1.0, 2.0]))

    assert servable.sizes == [2, 1, 2, 1, 2, 1, 1, 2]


def test_a_passing_failure_of_the_batch_is_waited_for() -> None:
    """As without the check."""
    predictor = a_predictor(Moody(2, error=UnavailableError("remote")), check_batches=1)
    with pytest.raises(ServableUnavailableError):
        outcomes_of(predictor, lone_rows([1.0, 2.0]))


def test_a_model_with_an_element_of_chance_stays_joined() -> None:
    """Its lone answers differ from each other, too."""
    numbers = itertools.count()
    servable = Computing(lambda x: x + np.float32(next(numbers)))
    predictor = a_predictor(servable, check_batches=1)
    outcomes_of(predictor, lone_rows([1.0, 2.0]))
    servable.sizes.clear()

    outcomes_of(predictor, lone_rows([1.0, 2.0]))

    assert servable.sizes == [2]


def test_decisions_go_with_the_version() -> None:
    """One that is loaded again, or made of other servables, is checked again; all are bounded."""
    metrics = WorkerMetrics(CollectorRegistry())
    check = CompanyCheck(1, metrics)
    one, name = ServableId("digits", 1), "serving_default"

    def of(servable: Any, servable_id: ServableId = one, signature_name: str = name) -> Any:
        return check.of(servable, servable_id, signature_name, servable.signatures[name])

    servable = Computing(minus_mean)
    company = of(servable)
    assert of(servable) is company
    assert of(servable, signature_name="other") is not company
    assert of(Computing(minus_mean)) is not company
    servable.signatures[name] = Computing(minus_mean, parts=(1,)).signatures[name]
    assert of(servable) is not company
    for version in range(2, MAX_SIGNATURES + 10):
        of(servable, ServableId("digits", version))
    assert len(check._entries) == MAX_SIGNATURES
    del servable
    gc.collect()
    of(Computing(minus_mean))
    assert len(check._entries) == 1


@pytest.mark.slow
def test_a_keras_model_that_pads_to_the_longest_text(tmp_path: Path) -> None:
    """Real layers: its answers are those alone; with a fixed length records stay joined."""
    import tensorflow as tf

    from topicserve.servables.kinds.saved_model.options import SavedModelOptions
    from topicserve.servables.kinds.saved_model.saved_model import SavedModel

    requests = lone_rows(["a good film", "bad", "a film that was very very long and bad"])
    for length, is_apart in ((None, True), (8, False)):
        layers = tf.keras.layers
        text = tf.keras.Input((), dtype="string", name="text")
        tokens = layers.TextVectorization(
            vocabulary=["a", "good", "bad", "film"], output_sequence_length=length
        )(text)
        vectors = layers.Embedding(20, 4, embeddings_initializer="normal")(tokens)
        score = layers.Dense(1, name="score")(layers.GlobalAveragePooling1D()(vectors))
        path = tmp_path / str(length)
        tf.keras.Model({"text": text}, {"score": score}).export(str(path), verbose=False)
        model = SavedModel.load(str(path), SavedModelOptions())
        predictor = a_predictor(model, check_batches=8)
        alone: dict[str, Any] = {}
        for request in requests:
            alone |= outcomes(model, [request])

        found = outcomes_of(predictor, requests)

        company = predictor._calls._company.of(
            model, ServableId("digits", 1), "serving_default", model.signatures["serving_default"]
        )
        assert company.is_apart is is_apart
        assert not is_apart or found == alone
        model.close()
