"""A result that is refused costs no record but its own the answer."""

import uuid
from collections import Counter
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.servables.servables import Doubling, Served
from tests.support.stages.deliveries import limit_of
from tests.support.stages.logged import Logged
from tests.support.stages.records import PARTITION, a_kafka_record, a_request, an_id
from tests.worker.test_pipeline import World, records
from topicserve.backends.errors import BackendError, RecordRefusedError, RecordTooLargeError
from topicserve.servables.kinds.servable import Signature, TensorSpec
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.config.served import CanaryConfig, ServedConfig
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.calls.second_tries import (
    MAX_NOTED,
    MAX_RECORDS,
    Refusal,
    SecondTries,
)
from topicserve.worker.stages.request import Evidence, Trial

FLOAT32 = np.dtype(np.float32)
LIMIT_BYTES = 3000
GUARANTEES = pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)


class Padding(Doubling):
    """Answers each row with as many numbers as the largest `x` of the call says."""

    @property
    def signatures(self) -> Any:
        inputs, outputs = {"x": TensorSpec(FLOAT32, ())}, {"y": TensorSpec(FLOAT32, (None,))}
        return {"serving_default": Signature(inputs, outputs, rows_are_independent=True)}

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:  # noqa: ARG002
        self.sizes.append(len(inputs["x"]))
        return {"y": np.repeat(inputs["x"][:, None], int(inputs["x"].max()), axis=1)}


def reason_of(sent: Any) -> str | None:
    """Return why a dead letter was given up; None for a result."""
    reason = dict(sent.headers).get("topicserve-reason")
    return None if reason is None else reason.decode()


@GUARANTEES
def test_only_a_record_whose_lone_result_is_too_large_is_given_up(guarantee: Guarantee) -> None:
    """The others of its batch are predicted alone, and get what they get alone."""
    made = [
        a_kafka_record(n, float(2000 if n % 20 == 7 else 1 + n % 3), partition=n % 3)
        for n in range(60)
    ]
    servable = Padding()
    world = World(made, guarantee, Served({1: servable}))
    world.producer.fail_send = limit_of(LIMIT_BYTES)

    world.run()

    by_id = {dict(sent.headers)["ce_id"]: sent for sent in world.log.published}
    assert len(by_id) == len(world.log.published) == 60
    for n in range(60):
        sent = by_id[an_id(n).encode()]
        if n % 20 == 7:
            assert reason_of(sent) == "result_too_large"
        else:
            size = 1 + n % 3
            assert orjson.loads(sent.value or b"")["prediction"][:size] == [size] * size
    assert max(servable.sizes) > 1
    assert world.stages.intake.tracker.outcome_bytes == 0
    assert world.served.open_handles == 0


@GUARANTEES
def test_a_result_that_is_refused_for_another_reason_is_given_up_at_once(
    guarantee: Guarantee,
) -> None:
    """Another prediction would be refused, too."""
    servable = Doubling()
    world = World(records(6), guarantee, Served({1: servable}))
    world.producer.fail_send = lambda sent: (
        RecordRefusedError("its header") if b'"prediction":4.0' in (sent.value or b"") else None
    )

    world.run()

    reasons = Counter(reason_of(sent) for sent in world.log.published)
    assert reasons == {None: 5, "result_refused": 1}


def too_large(sent: OutgoingRecord) -> BackendError | None:
    """Refuse every result of an `x` of 1 modulo 3 by version 2, and some by version 1, for size."""
    return RecordTooLargeError("9 MB") if is_refused(sent) else None


def not_taken(sent: OutgoingRecord) -> BackendError | None:
    """Refuse the same for another reason."""
    return RecordRefusedError("its header") if is_refused(sent) else None


def is_refused(sent: OutgoingRecord) -> bool:
    """Return whether it is a result that these tests refuse: of the default, that of 7 alone."""
    number, version = number_of(sent), version_of(sent)
    return (version == b"2" and number % 3 == 1) or (version == b"1" and number == 7)


def number_of(sent: OutgoingRecord) -> int:
    """Return the number of a record, by the id that it names."""
    return uuid.UUID((dict(sent.headers)["ce_id"] or b"").decode()).int


def version_of(sent: OutgoingRecord) -> bytes | None:
    """Return the version of a result; None for a dead letter."""
    return dict(sent.headers).get("ce_servableversion")


@GUARANTEES
@pytest.mark.parametrize("label", [None, "next"])
@pytest.mark.parametrize("refuse", [too_large, not_taken])
def test_what_is_refused_of_a_canary_the_default_answers(
    refuse: Any, label: str | None, guarantee: Guarantee, logged: Logged
) -> None:
    """Counted as a fallback; a record of which both results are refused is given up, once."""
    served = Served({1: Doubling(), 2: Doubling()})
    served.default = lambda: 1
    served.labels["next"] = 2
    canary = CanaryConfig(1.0, label=label, version=None if label else 2)
    entry = ServedConfig("digits", "/models/digits", canary=canary)
    world = World(records(12), guarantee, served, servables=(entry,))
    world.producer.fail_send = refuse

    world.run()

    found = {number_of(one): one for one in world.log.published}
    assert len(found) == len(world.log.published) == 12
    reason = "result_too_large" if refuse is too_large else "result_refused"
    assert {n: reason_of(one) for n, one in found.items() if reason_of(one)} == {7: reason}
    versions = {n: version_of(one) for n, one in found.items()}
    assert versions == {n: b"1" if n % 3 == 1 else b"2" for n in range(12)} | {7: None}
    fallbacks = world.metric("canary_fallbacks_total", servable="digits") or 0
    # An aborted transaction's records are predicted again, and counted so.
    assert fallbacks == 4 if guarantee is Guarantee.AT_LEAST_ONCE else fallbacks >= 4
    assert {one["version"] for one in logged("canary_failed")} == {2}
    assert world.stages.intake.tracker.outcome_bytes == world.served.open_handles == 0


TOO_LARGE = Refusal(Reason.RESULT_TOO_LARGE, ValueError("1 MB"))
NEW = Evidence(frozenset({Trial("digits", 2)}))


def test_a_record_is_tried_alone_and_then_without_each_version_that_was_refused() -> None:
    """And then given up; afterwards nothing is known of it."""
    tries, request = SecondTries(), a_request()
    both = Evidence(frozenset({Trial("digits", 2), Trial("step", 5)}))

    again = [
        tries.note(request, TOO_LARGE, is_alone=is_alone, evidence=evidence)
        for is_alone, evidence in ((False, both), (True, both), (True, NEW), (True, None))
    ]

    assert again == [True, True, True, False]
    assert tries.of([request]) == {}


def test_a_canary_is_replaced_beside_what_is_on_probation() -> None:
    """Its default answers, or the step before of its pipeline: each refusal is noted apart."""
    tries, request = SecondTries(), a_request()
    canary = Trial("digits", 2)
    both = Evidence(frozenset({Trial("step", 5)}), canary=canary)
    alone = Evidence(frozenset(), canary=canary)

    again = [
        tries.note(request, TOO_LARGE, is_alone=True, evidence=evidence)
        for evidence in (both, alone, None)
    ]

    assert again == [True, True, False]


@pytest.mark.parametrize(("is_alone", "evidence"), [(False, None), (False, NEW), (True, NEW)])
def test_what_was_predicted_before_a_refusal_was_noted_gives_no_record_up(
    is_alone: bool, evidence: Evidence | None
) -> None:
    """As in an epoch that was aborted: its batch may come after the one that was read again."""
    tries, request = SecondTries(), a_request()

    again = [tries.note(request, TOO_LARGE, is_alone=is_alone, evidence=evidence) for _ in range(3)]

    assert again == [True, True, True]
    assert len(tries.of([request])) == 1


def test_a_record_read_again_is_known_by_its_place() -> None:
    """After a transaction that was aborted it is another object, and another assignment."""
    tries = SecondTries()
    tries.note(a_request(offset=5), TOO_LARGE, is_alone=True, evidence=NEW)
    other, again = (
        a_request(offset=6),
        a_request(offset=5, assignment=PartitionAssignment(PARTITION)),
    )

    found = tries.of([other, again])
    tries.forget([other, again])

    assert list(found) == [id(again)]
    assert found[id(again)].refused == {NEW.answered: TOO_LARGE}
    assert tries.of([again]) == {}


def test_what_is_known_is_bounded() -> None:
    """Partitions may go while their records are to be tried again."""
    tries, assignment = SecondTries(), PartitionAssignment(PARTITION)
    requests = [
        a_request(offset=offset, assignment=assignment) for offset in range(MAX_RECORDS + 5)
    ]

    for request in requests:
        tries.note(request, TOO_LARGE, is_alone=False, evidence=None)

    assert len(tries.of(requests)) == 5


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(list(range(9)))),
        min_size=MAX_NOTED + 1,
        max_size=2 * MAX_NOTED,
    )
)
def test_no_record_is_tried_for_ever(refusals: list[tuple[bool, int]]) -> None:
    """Whatever versions come and go."""
    tries, request = SecondTries(), a_request()
    count = 0
    for is_alone, version in refusals:
        evidence = Evidence(frozenset({Trial("digits", version)}))
        if not tries.note(request, TOO_LARGE, is_alone=is_alone, evidence=evidence):
            break
        count += 1

    assert count <= MAX_NOTED
