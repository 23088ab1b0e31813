"""A servable says what its rows take, and no batch takes more; what comes back keeps its order."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from numpy.typing import NDArray

from tests.support.servables.servables import Costly, Doubling, Served
from tests.support.stages.poison import Line, message_of, reason_of
from tests.support.stages.records import a_kafka_record, an_id
from tests.worker.quarantine.test_quarantine import COUNT, Replicas
from tests.worker.test_pipeline import LIMIT_SECONDS, World, records
from topicserve.servables.core.errors import UnavailableError
from topicserve.servables.kinds.servable import Columns
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.config.schema import BatchingConfig, Guarantee

guarantees = pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)


def cost(x: float) -> float:
    """Return a cost of which a call may hold one to twenty rows."""
    return 1.5 if x % 7 == 0 else 0.3 if x % 3 else 0.05


def check_order(world: World, count: int) -> None:
    """Check that each record was answered once, and those of a partition in their order."""
    places = {an_id(offset): offset for offset in range(count)}
    order = [places[one] for one in world.log.ids()]
    assert sorted(order) == list(range(count))
    for partition in range(3):
        own = [offset for offset in order if offset % 3 == partition]
        assert own == sorted(own)


@guarantees
@pytest.mark.parametrize("threads", [1, 3])
def test_every_batch_is_within_its_cost_and_results_keep_their_order(
    guarantee: Guarantee, threads: int
) -> None:
    """What is too much for one goes back, and is answered once, in its turn."""
    costly = Costly(cost)
    batching = BatchingConfig(predict_threads=threads, check_batches=0)
    world = World(records(200), guarantee, Served({1: costly}), batching=batching)

    world.run()

    check_order(world, 200)
    for call in costly.calls:
        assert len(call) == 1 or sum(map(cost, call)) <= 1 + 1e-9
    assert max(map(len, costly.calls)) > 1


@guarantees
def test_suspects_are_within_their_cost_too(guarantee: Guarantee) -> None:
    """A worker that was ended beside costly records is followed by one that finds the killer."""
    replicas = Replicas(guarantee, {31}, served=Served({1: Costly(lambda _: 0.4)}))

    replicas.run(at_most=8)

    assert replicas.outcomes() == replicas.expected()
    assert COUNT == 60


def test_later_batches_are_cut_by_what_rows_cost_before() -> None:
    """So that little is taken and given back; what costs nothing is not bounded."""
    costly = Costly(lambda _: 0.25)
    world = World(
        records(100), Guarantee.AT_LEAST_ONCE, Served({1: costly}), batching=BatchingConfig()
    )

    world.run()

    route = next(iter(world.stages.inference.batcher._sizer._seen))
    assert world.stages.inference.batcher._sizer.limit(route) == 4


def test_a_record_of_many_costly_rows_is_refused_alone() -> None:
    """Its rows stay together; a record of one row is answered at any cost."""
    line = Line(Costly(lambda x: x))
    rows = [[0.5], [1.0, 3.5], [9.0], [1.0, 3.000001]]

    outcomes = line.run(*[a_record(offset, rows[offset]) for offset in range(4)])

    assert [reason_of(outcomes[offset]) for offset in (0, 2, 3)] == [None] * 3
    assert reason_of(outcomes[1]) is Reason.INVALID_INPUT
    assert "its rows take 4.50 times what a call may take" in message_of(outcomes[1])


def test_a_batch_of_nothing_but_such_records_is_refused() -> None:
    """Nothing is left of it to be predicted, and the worker goes on."""
    line = Line(Costly(lambda x: x))

    outcomes = line.run(a_record(0, [3.0, 3.5]), a_record(1, [9.0, 1.0]))

    assert [reason_of(outcomes[offset]) for offset in (0, 1)] == [Reason.INVALID_INPUT] * 2
    assert reason_of(line.run(a_record(2, [1.0]))[2]) is None


def a_record(offset: int, rows: list[float], **changes: Any) -> KafkaRecord:
    """Return a record of these rows."""
    return a_kafka_record(offset, value=b'{"instances":%s}' % str(rows).encode(), **changes)


@pytest.mark.parametrize("costs", ["raise", "shape", "text", "negative", "nan"])
def test_costs_that_are_none_cost_a_batch_each(costs: str) -> None:
    """A kind of a user's own may raise anything; records are answered all the same."""
    costly = Broken(costs)
    line = Line(costly)

    outcomes = line.run(*[a_record(offset, [1.0]) for offset in range(3)])

    assert [reason_of(outcomes[offset]) for offset in range(3)] == [None] * 3
    assert costly.sizes == [1, 1, 1]


class Broken(Doubling):
    """A servable whose costs are none."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def row_costs(self, inputs: object, signature_name: str) -> object:  # noqa: ARG002
        """Return what cannot be used."""
        if self.how == "raise":
            raise SystemExit
        return {"shape": [1.0], "text": "abc", "negative": [-1] * 3, "nan": [float("nan")] * 3}[
            self.how
        ]


def test_what_is_left_has_its_deadline_looked_at_again() -> None:
    """A record behind it that expired is told in its turn, with the batch that it is left for."""
    line = Line(Costly(lambda _: 1.0))
    given = [a_record(offset, [1.0]) for offset in range(4)]
    given[2] = a_record(2, [1.0], headers=[("ce_expirytime", b"2001-01-01T00:00:00Z")])

    outcomes = line.run(*given)

    assert [reason_of(outcomes[offset]) for offset in (0, 1, 3)] == [None] * 3
    assert reason_of(outcomes[2]) is Reason.DEADLINE_EXCEEDED
    assert set(list(outcomes)[:1]) == {0}
    assert list(outcomes).index(2) > list(outcomes).index(0)


class OneComesBack(Doubling):
    """Has no room for one batch, while the next takes long."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.began = [threading.Event() for _ in range(5)]
        self.lock = threading.Lock()

    def predict(
        self, inputs: Columns, signature_name: str = "serving_default"
    ) -> Mapping[str, NDArray[Any]]:
        """Fail the first call of seven rows once the second has begun; hold that for two more."""
        with self.lock:
            number = self.calls
            if self.calls or len(inputs["x"]) == 7:
                self.calls += 1
                if number < 5:
                    self.began[number].set()
                number += 1
        if number == 1:
            assert self.began[1].wait(LIMIT_SECONDS)
            raise UnavailableError("no room")
        if number == 2:
            self.began[3].wait(1)  # it does not begin: what is behind must not be cut
        return super().predict(inputs, signature_name)


@guarantees
def test_nothing_overtakes_a_batch_that_is_still_predicted_when_one_comes_back(
    guarantee: Guarantee,
) -> None:
    """It must come back, too, and until it has nothing behind it is cut."""
    world = World(records(120), guarantee, Served({1: OneComesBack()}))

    world.run()

    check_order(world, 120)
