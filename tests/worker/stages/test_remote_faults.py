"""A remote server's faults cost no record that it can answer."""

from random import Random
from typing import Any

import numpy as np
import orjson
import pytest

from tests.servables.kinds.remote.fake_server import LATE, NO_ROOM, ROWS, UNAVAILABLE, WHOLE, Worker
from tests.support.stages.outcomes import a_predictor, outcomes_of
from tests.support.stages.records import a_request
from topicserve.servables.core.errors import ServableError
from topicserve.servables.kinds.servable import Columns, Signature
from topicserve.wire.dead_letter import Reason
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls.calls import ServableUnavailableError


class Remote:
    """Calls a server that fails as told."""

    def __init__(self, remote: Worker, signature: Signature = ROWS) -> None:
        self.signatures = {"serving_default": signature}
        self._remote = remote

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        return self._remote.careful.predict(
            self._remote.server, inputs, self.signatures[signature_name]
        )


def processed(remote: Worker, requests: list[Any], signature: Signature = ROWS) -> list[Any]:
    """Return what each record was answered, after as many rounds as it took."""
    predictor = a_predictor(Remote(remote, signature))
    found: dict[str, Any] = {}
    left = requests
    for _ in range(5_000):
        try:
            found |= outcomes_of(predictor, left)
        except ServableUnavailableError:
            remote.clock.advance(0.1)
        left = requests[len(found) :]
        if not left:
            return [found[request.input.record_id] for request in requests]
    raise TimeoutError


def predictions(body: Any) -> Any:
    """Return the rows of a result."""
    answer = orjson.loads(body)
    return answer["predictions"] if "predictions" in answer else [answer["prediction"]]


def rows(*values: int) -> Any:
    """Return a record of several rows."""
    return a_request(list(values), form=Form.INSTANCES, rows=len(values))


def test_records_that_a_server_fails_on_are_dead_letters_alone() -> None:
    """The dead letter says what the server said; all other records have their results."""
    remote = Worker()
    remote.server.fails_on = {13: UNAVAILABLE, 15: LATE}
    remote.server.down_seconds = 0.5
    requests = [a_request(11), rows(12, 13), *map(a_request, (14, 15, 16, 17))]

    first, thirteen, fourteen, fifteen, *last = processed(remote, requests)

    assert [predictions(one) for one in (first, fourteen, *last)] == [[22], [28], [32], [34]]
    for dead, error in ((thirteen, UNAVAILABLE), (fifteen, LATE)):
        assert dead[0] is Reason.PREDICT_FAILED
        assert str(error).encode() in dead[1]


def test_a_busy_server_makes_no_dead_letters() -> None:
    """Records of several rows wait like any others, and go in parts where it has room for these."""
    remote = Worker()
    remote.server.most = 0, NO_ROOM
    requests = [rows(1, 2), rows(3, 4, 5)]
    predictor = a_predictor(Remote(remote))
    for _ in range(100):
        try:
            outcomes_of(predictor, requests)
        except ServableUnavailableError:
            remote.clock.advance(1)
        else:
            raise AssertionError("it had no room")

    remote.server.most = 2, NO_ROOM
    assert [predictions(one) for one in processed(remote, requests)] == [[2, 4], [6, 8, 10]]


def test_records_that_are_not_joined_get_through_a_busy_server() -> None:
    """What was answered is published, and the others alone are asked for again."""
    remote, random = Worker(WHOLE), Random(1)
    remote.server.is_busy = lambda: random.random() < 0.7
    requests = [a_request([number], form=Form.INSTANCES) for number in range(64)]

    answers = processed(remote, requests, WHOLE)

    assert [predictions(one) for one in answers] == [[[2 * n]] for n in range(64)]
    asked = [row for (row,) in remote.server.answered]
    assert len(asked) < 3 * 64


@pytest.mark.parametrize("error", [NO_ROOM, UNAVAILABLE])
def test_a_batch_ends_before_the_record_that_is_not_answered(error: ServableError) -> None:
    """What is in front of it is published, and none behind it."""
    remote = Worker(WHOLE)
    remote.server.fails_on = {3: error}
    requests = [a_request([number], form=Form.INSTANCES) for number in (1, 2, 3, 4)]
    invalid = a_request("no number")
    predictor = a_predictor(Remote(remote, WHOLE))

    found = outcomes_of(predictor, [requests[0], invalid, *requests[1:], a_request("behind")])

    ids = [request.input.record_id for request in (requests[0], invalid, requests[1])]
    assert sorted(found) == sorted(ids)
    assert found[ids[1]][0] is Reason.INVALID_INPUT
    with pytest.raises(ServableUnavailableError):
        outcomes_of(predictor, requests[2:])


class CostlyRemote(Remote):
    """A remote servable of which each row of 50 takes more than a call may have."""

    def row_costs(self, inputs: Columns, signature_name: str) -> Any:  # noqa: ARG002
        return np.where(inputs["x"].ravel() == 50, 3.0, 0.0)


def test_a_record_that_is_refused_for_its_cost_has_its_outcome_there_too() -> None:
    """In front of the one that is not answered, or else with the next batch."""
    remote = Worker(WHOLE)
    remote.server.fails_on = {3: NO_ROOM}
    costly = [a_request([50, 50], rows=2, form=Form.INSTANCES) for _ in range(2)]
    requests = [a_request([number], form=Form.INSTANCES) for number in (1, 3, 4)]
    predictor = a_predictor(CostlyRemote(remote, WHOLE))

    found = outcomes_of(predictor, [requests[0], costly[0], requests[1], costly[1], requests[2]])

    assert sorted(found) == sorted(one.input.record_id for one in (requests[0], costly[0]))
    assert found[costly[0].input.record_id][0] is Reason.INVALID_INPUT


def test_a_batch_without_an_answer_waits_as_a_whole() -> None:
    """A record that fits no signature is published with those behind it."""
    remote = Worker(WHOLE)
    remote.server.away = UNAVAILABLE

    with pytest.raises(ServableUnavailableError):
        outcomes_of(a_predictor(Remote(remote, WHOLE)), [a_request("no number"), rows(1), rows(2)])
