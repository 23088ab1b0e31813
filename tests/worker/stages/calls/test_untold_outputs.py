"""An output that may have rows or not is told by calls with a row more, never by a length alone."""

from typing import Any

import numpy as np
import orjson
import pytest

from tests.support.stages.outcomes import a_predictor, outcomes_of
from tests.support.stages.records import a_request
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form

CHECKS = 3
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

    def __init__(self, *names: str, scope: Scope = Scope.ROW, most_rows: int = 99) -> None:
        shape = () if scope is Scope.ROW else None
        untold = TensorSpec(FLOAT32, None, Scope.UNKNOWN)
        signature = Signature(
            {"x": TensorSpec(FLOAT32, shape, scope)}, dict.fromkeys(names, untold)
        )
        self.signatures = {"serving_default": signature}
        self.sizes: list[int] = []
        self._most_rows = most_rows

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:
        self.sizes.append(len(inputs["x"]))
        if len(inputs["x"]) > self._most_rows:
            raise InvalidArgumentError("too many rows")
        names = self.signatures[signature_name].outputs
        return {name: np.asarray(MAKES[name](inputs["x"]), np.float32) for name in names}


def predictions(servable: Untold, *records: list[float], checks: int = CHECKS) -> list[Any]:
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


def test_what_had_other_rows_once_is_looked_at_each_time() -> None:
    """So a record's answer does not follow from which records came before it."""
    servable = Untold("words")
    agreeing, other = [1.0, 1.0], [2.0, 1.0]

    found = predictions(servable, *[agreeing] * CHECKS, other, *[agreeing] * 2)

    assert found == [*[[1.0, 1.0]] * CHECKS, [[1.0] * 3] * 2, *[[1.0, 1.0]] * 2]
    assert servable.sizes == [*[2, 3] * CHECKS, 2, *[2, 3] * 2]


def test_what_has_rows_is_looked_at_so_often_and_no_more() -> None:
    """Each look is a call with one row more."""
    servable = Untold("scores")

    found = predictions(servable, *[[float(n)] for n in range(5)])

    assert found == [[[n, n]] for n in range(5)]
    assert servable.sizes == [1, 2] * CHECKS + [1] * (5 - CHECKS)


def test_what_never_grew_is_whole_and_looked_at_no_more() -> None:
    """So a total costs no second call for good."""
    servable = Untold("total")

    found = predictions(servable, *[[float(n)] for n in range(5)])

    assert found == [[[n]] for n in range(5)]
    assert servable.sizes == [1, 2] * CHECKS + [1] * (5 - CHECKS)


def test_a_call_with_a_row_more_that_fails_tells_nothing() -> None:
    """The record is answered by its own call; after a few of them no more are tried."""
    servable = Untold("scores", most_rows=2)

    found = predictions(servable, *[[1.0, 2.0]] * 5)

    assert found == [[[1.0, 1.0], [2.0, 2.0]]] * 5
    assert servable.sizes == [2, 3] * CHECKS + [2] * (5 - CHECKS)


@pytest.mark.parametrize("form", [Form.INPUTS, Form.TENSORS])
def test_columns_and_tensors_are_whole_in_any_case(form: Form) -> None:
    """So they cost no call more."""
    servable = Untold("top")
    payload: Any = [1.0, 2.0, 3.0] if form is Form.INPUTS else {"x": np.ones(3, np.float32)}

    outcomes_of(
        a_predictor(servable, check_batches=CHECKS), [a_request(payload, form=form, rows=3)]
    )

    assert servable.sizes == [3]


def test_the_check_can_be_switched_off() -> None:
    """Then the first dimension alone tells, as in TF Serving."""
    assert predictions(Untold("top"), [1.0, 2.0, 3.0], checks=0) == [[1.0, 2.0, 3.0]]
