"""An output that may have rows or not is told by calls with a row more, never by a length alone."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.outcomes import a_predictor, outcomes_of
from tests.support.stages.records import a_request
from topicserve.servables.core.errors import InvalidArgumentError, ServableError, UnavailableError
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls.calls import ServableUnavailableError

_TOO_MANY = InvalidArgumentError("too many rows")
FLOAT32 = np.dtype(np.float32)
MAKES: dict[str, Any] = {
    "scores": lambda x: np.stack([x, x], 1),
    "top": lambda x: np.sort(np.concatenate([x, [0, 0, 0]]))[-3:],
    "total": lambda x: x.sum()[None],
    "distinct": np.unique,
    "words": lambda x: np.ones(int(x.sum())),
}


class Untold:
    """Declares a row for each number of `x`, and nothing of its outputs. Counts its calls."""

    def __init__(
        self,
        *names: str,
        scope: Scope = Scope.ROW,
        most_rows: int = 99,
        error: ServableError = _TOO_MANY,
    ) -> None:
        shape = () if scope is Scope.ROW else None
        untold = TensorSpec(FLOAT32, None, Scope.UNKNOWN)
        signature = Signature(
            {"x": TensorSpec(FLOAT32, shape, scope)}, dict.fromkeys(names, untold)
        )
        self.signatures = {"serving_default": signature}
        self.sizes: list[int] = []
        self._most_rows = most_rows
        self._error = error

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:
        self.sizes.append(len(inputs["x"]))
        if len(inputs["x"]) > self._most_rows:
            raise self._error
        names = self.signatures[signature_name].outputs
        return {name: np.asarray(MAKES[name](inputs["x"]), np.float32) for name in names}


def predictions(servable: Untold, *records: list[float], checks: int = 1) -> list[Any]:
    """Return what records of `instances` are answered, one batch each."""
    predictor = a_predictor(servable, check_batches=checks)
    found = []
    for rows in records:
        request = a_request(rows, form=Form.INSTANCES, rows=len(rows))
        (body,) = outcomes_of(predictor, [request]).values()
        assert isinstance(body, bytes), body
        found.append(orjson.loads(body)["predictions"])
    return found


@pytest.mark.parametrize("scope", [Scope.ROW, Scope.UNKNOWN])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_length_that_agrees_by_chance_is_not_taken_for_rows(size: int, scope: Scope) -> None:
    """Whatever the number of rows sent: each of them gets the whole output."""
    rows = [float(n + 1) for n in range(size)]
    top = sorted([*rows, 0.0, 0.0, 0.0])[-3:]

    (found,) = predictions(Untold("top", scope=scope), rows)

    assert found == [top] * size


@pytest.mark.parametrize("size", [1, 2, 3])
def test_each_output_is_told_on_its_own(size: int) -> None:
    """Those with rows are cut, beside those that are for the whole call."""
    rows = [float(n + 1) for n in range(size)]

    (found,) = predictions(Untold("scores", "total", "distinct"), rows)

    assert found == [{"scores": [row, row], "total": [sum(rows)], "distinct": rows} for row in rows]


@given(st.lists(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=4), max_size=8))
def test_an_answer_does_not_follow_from_the_records_before_it(records: list[list[float]]) -> None:
    """Neither from how many there were: two replicas give the same, whatever each has seen."""
    names = ["scores", "top", "total", "distinct", "words"]
    alone = [predictions(Untold(*names), rows)[0] for rows in records]

    assert predictions(Untold(*names), *[[1.0]] * 20, *records)[20:] == alone
    assert predictions(Untold(*names), *records, *reversed(records))[: len(records)] == alone


@pytest.mark.parametrize("name", ["scores", "total"])
def test_each_record_whose_output_may_have_rows_is_looked_at(name: str) -> None:
    """By one call with a row more, however many showed the same before; others cost none."""
    servable = Untold(name)

    found = predictions(servable, *[[float(n)] for n in range(20)])

    assert found == [[[n, n]] if name == "scores" else [[n]] for n in range(20)]
    assert servable.sizes == [1, 2] * 20

    servable = Untold("words")
    assert predictions(servable, [2.0, 1.0]) == [[[1.0] * 3] * 2]
    assert servable.sizes == [2]


def test_a_call_with_a_row_more_that_fails_tells_nothing() -> None:
    """The record is answered by its own call, whose length alone tells."""
    servable = Untold("scores", most_rows=2)

    found = predictions(servable, *[[1.0, 2.0]] * 2)

    assert found == [[[1.0, 1.0], [2.0, 2.0]]] * 2
    assert servable.sizes == [2, 3] * 2


def test_a_call_with_a_row_more_that_may_succeed_later_is_waited_for() -> None:
    """Else the record would be answered otherwise than at another time."""
    servable = Untold("top", most_rows=3, error=UnavailableError("remote"))
    predictor = a_predictor(servable, check_batches=1)
    request = a_request([1.0, 2.0, 3.0], form=Form.INSTANCES, rows=3)

    with pytest.raises(ServableUnavailableError):
        outcomes_of(predictor, [request])


@pytest.mark.parametrize("form", [Form.INPUTS, Form.TENSORS])
def test_columns_and_tensors_are_whole_in_any_case(form: Form) -> None:
    """So they cost no call more."""
    servable = Untold("top")
    payload: Any = [1.0, 2.0, 3.0] if form is Form.INPUTS else {"x": np.ones(3, np.float32)}

    outcomes_of(a_predictor(servable, check_batches=1), [a_request(payload, form=form, rows=3)])

    assert servable.sizes == [3]


def test_the_check_can_be_switched_off() -> None:
    """Then the first dimension alone tells, as in TF Serving."""
    assert predictions(Untold("top"), [1.0, 2.0, 3.0], checks=0) == [[1.0, 2.0, 3.0]]
