import threading
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.servables.servables import Doubling, Served
from tests.support.stages.logged import Logged
from tests.support.stages.records import a_request
from topicserve.backends.errors import BackendUnavailableError, DeliveryTimeoutError
from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form
from topicserve.worker.config.served import ServedConfig, ShadowConfig
from topicserve.worker.stages.request import BatchPrediction, CallOutput, Request
from topicserve.worker.stages.routing import share_of
from topicserve.worker.stages.shadow import MAX_WAITING_BATCHES, Shadow
from topicserve.worker.telemetry.metrics import WorkerMetrics

LIMIT_SECONDS = 60.0


class Tripling(Doubling):
    """Differs from a doubling wherever the number is not 0."""

    def predict(
        self, inputs: Columns, signature_name: str = "serving_default"
    ) -> Mapping[str, NDArray[Any]]:
        return {"y": super().predict(inputs, signature_name)["y"] * 1.5}


class World:
    """A shadow of version 2 beside answers of version 1."""

    def __init__(self, second: Any, share: float = 1.0) -> None:
        self.log = MemoryLog()
        self.registry = CollectorRegistry()
        served = [ServedConfig("digits", "/", shadow=ShadowConfig(share, 2))]
        self.served = Served({1: Doubling(), 2: second})
        self.producer = MemoryProducer(self.log)
        self.shadow = Shadow(
            served,
            self.served,
            self.producer,
            "differences",
            "worker-1",
            WorkerMetrics(self.registry),
        )

    def offer(
        self, *requests: Request, start: bool = True, version: int = 1, others: int | None = None
    ) -> None:
        """Offer a batch that a version has answered, and let the shadow finish."""
        rows = sum(request.input.rows for request in requests)
        values = np.arange(rows, dtype=np.float32) * 2
        counts = [request.input.rows for request in requests]
        answers = [CallOutput(requests, {"y": values}, counts, version=others)]
        if start:
            self.shadow.start()
        self.shadow.offer(BatchPrediction("digits", version, "serving_default", answers, []))
        if start:
            self.shadow.close(10)

    def count(self, outcome: str) -> float:
        """Return how many comparisons came out so."""
        labels = {"servable": "digits", "outcome": outcome}
        return self.registry.get_sample_value("topicserve_shadow_comparisons_total", labels) or 0


def test_differences_are_published_with_both_answers() -> None:
    """What is equal is only counted."""
    world = World(Tripling())
    requests = [a_request(0.0), a_request(1.0)]

    world.offer(*requests)

    (sent,) = world.log.published
    body = orjson.loads(sent.value or b"")
    assert body["id"] == requests[1].input.record_id
    assert (body["primary"]["prediction"], body["shadow"]["prediction"]) == (2.0, 3.0)
    assert (body["primary"]["servable"]["version"], body["shadow"]["servable"]["version"]) == (1, 2)
    assert sent.topic == "differences"
    assert (world.count("equal"), world.count("different")) == (1, 1)


def test_records_of_any_form_are_compared() -> None:
    """Also those that came as protobuf."""
    world = World(Tripling())
    tensors = {"x": np.array([1.0], np.float32)}

    world.offer(
        a_request([0.0, 0.0], form=Form.INSTANCES, rows=2), a_request(tensors, form=Form.TENSORS)
    )

    by_id = [orjson.loads(sent.value or b"") for sent in world.log.published]
    assert [body["shadow"].get("outputs") for body in by_id] == [None, [3.0]]
    assert world.count("different") == 2


def test_a_share_is_taken_by_record_id() -> None:
    """The same records each time."""
    requests = [a_request(0.0) for _ in range(50)]
    world = World(Doubling(), share=0.3)

    world.offer(*requests)

    chosen = [r for r in requests if share_of(r.input.record_id) < 0.3]
    assert world.count("equal") + world.count("different") == len(chosen)


def test_a_failing_shadow_is_counted_and_nothing_else(logged: Logged) -> None:
    """The records have their results."""
    world = World(Doubling(dislikes=1.0))

    world.offer(a_request(1.0))

    assert world.count("failed") == 1
    assert world.log.published == []
    problem = "InvalidArgumentError: not this one"
    assert logged("shadow_failed") == [{"servable": "digits", "problem": problem}]


def test_differences_that_cannot_be_published_are_told_and_nothing_else(logged: Logged) -> None:
    """Refused by the client, or not acknowledged by the broker."""
    refused, unacknowledged = World(Tripling()), World(Tripling())
    refused.producer.refuse_send = lambda: BackendUnavailableError("away")
    unacknowledged.producer.fail_send = lambda _: DeliveryTimeoutError("too slow")

    for world in (refused, unacknowledged):
        world.offer(a_request(1.0))
        assert world.log.published == []

    assert logged("shadow_not_published") == [
        {"records": 1, "problem": "away"},
        {"records": 1, "problem": "too slow"},
    ]


class Broken(Doubling):
    """Has a bug."""

    def predict(self, *_: object, **__: object) -> Any:
        raise KeyError("a bug")


@pytest.mark.parametrize(("second", "has_traceback"), [(Broken(), True), (Doubling(1.0), False)])
def test_a_bug_is_logged_with_its_traceback(
    second: Any, has_traceback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What a servable answers on purpose needs none."""
    world = World(second)

    world.offer(a_request(1.0))

    (line,) = [record for record in caplog.records if record.msg == "shadow_failed"]
    assert bool(line.exc_info) == has_traceback
    assert world.count("failed") == 1


@pytest.mark.parametrize("extra", [1, 5])
def test_a_shadow_that_is_too_slow_drops_and_counts(extra: int) -> None:
    """It never holds a record up."""
    world = World(Doubling())

    for _ in range(MAX_WAITING_BATCHES + extra):
        world.offer(a_request(0.0), start=False)

    assert world.count("dropped") == extra


@pytest.mark.parametrize("waiting", [3, MAX_WAITING_BATCHES])
def test_a_shadow_that_hangs_is_left_with_what_waits(waiting: int) -> None:
    """What has not begun is dropped and counted; its thread ends when the call returns."""
    called, over = threading.Event(), threading.Event()

    class Hanging(Doubling):
        def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Any:
            called.set()
            over.wait(LIMIT_SECONDS)
            return super().predict(inputs, signature_name)

    world = World(Hanging())
    world.offer(a_request(0.0), start=False)
    world.shadow.start()
    assert called.wait(LIMIT_SECONDS)
    for _ in range(waiting):
        world.offer(a_request(0.0), start=False)

    world.shadow.close(0.01)

    assert (world.shadow.is_running, world.count("dropped")) == (True, waiting)
    over.set()
    world.shadow.close(LIMIT_SECONDS)
    assert (world.shadow.is_running, world.count("dropped")) == (False, waiting)
    assert world.count("equal") == 1


def test_an_id_of_the_producers_own_does_not_break_the_difference() -> None:
    """It may have quotation marks."""
    world = World(Tripling())
    request = a_request(1.0)
    changed = msgspec.structs.replace(request.input, record_id='say"so\\')
    world.offer(a_request(0.0), msgspec.structs.replace(request, input=changed))

    (sent,) = world.log.published
    body = orjson.loads(sent.value or b"")
    assert body["id"] == body["primary"]["id"] == body["shadow"]["id"] == 'say"so\\'


@pytest.mark.parametrize(("version", "others"), [(2, None), (1, 2)])
def test_a_shadow_never_compares_a_version_with_itself(version: int, others: int | None) -> None:
    """A canary's records, say; they are counted as such."""
    world = World(Doubling())

    world.offer(a_request(1.0), a_request(2.0), version=version, others=others)

    assert world.count("same_version") == 2
    assert world.count("equal") == 0
    assert world.served.open_handles == 0


def test_a_shadow_that_is_not_available_is_counted_and_said_once(
    caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """It is no failure, and it is said when it is there."""
    caplog.set_level("INFO", "topicserve")
    world = World(Doubling())
    second = world.served.versions.pop(2)
    for _ in range(3):
        world.offer(a_request(0.0), start=False)
    task = world.shadow._waiting.get_nowait()
    assert task is not None
    for _ in range(2):
        world.shadow._compare(task)
    world.served.versions[2] = second

    world.shadow.start()
    world.shadow.close(10)

    assert (world.count("unavailable"), world.count("equal"), world.count("failed")) == (2, 2, 0)
    said = [one.message for one in caplog.records if one.message.startswith("shadow")]
    assert said == ["shadow_unavailable", "shadow_available"]
    problem = "digits has no version 2"
    assert logged("shadow_unavailable") == [{"servable": "digits", "problem": problem}]
    assert logged("shadow_available") == [{"servable": "digits"}]


NAMES = np.array([b"a", b"b"], object)


class Labelled(Doubling):
    """Takes a factor for the whole call, and gives names for it."""

    def __init__(self, names: Any = NAMES) -> None:
        super().__init__()
        self.names = names

    @property
    def signatures(self) -> Any:
        number = TensorSpec(np.dtype(np.float32), ())
        factor = TensorSpec(np.dtype(np.float32), (), Scope.CALL)
        names = TensorSpec(np.dtype(object), (2,), Scope.CALL)
        return {"serving_default": Signature({"x": number, "f": factor}, {"y": number, "n": names})}

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:  # noqa: ARG002
        return {"y": inputs["x"] * inputs["f"], "n": self.names}


@pytest.mark.parametrize(("names", "equal"), [(NAMES, 3), (np.array([b"a", b"c"], object), 0)])
def test_what_belongs_to_the_call_is_compared_with_each_record(names: Any, equal: int) -> None:
    """Records that shared a call of the first version may not share one here, and the other way."""
    world = World(Labelled(names))
    requests = [
        a_request([{"x": n, "f": 2} for n in (0, 1)], form=Form.INSTANCES, rows=2),
        a_request({"x": 2, "f": 2}),
        a_request({"f": 5, "x": [1, 1]}, form=Form.INPUTS, rows=99),
    ]
    first = CallOutput(
        [requests[0], requests[1]],
        {"y": np.array([0, 2, 4], np.float32), "n": NAMES},
        [2, 1],
        frozenset({"n"}),
    )
    second = CallOutput(
        [requests[2]],
        {"y": np.array([5, 5], np.float32), "n": NAMES},
        [2],
        frozenset({"n"}),
    )

    world.shadow.start()
    world.shadow.offer(BatchPrediction("digits", 1, "serving_default", [first, second], []))
    world.shadow.close(10)

    assert (world.count("equal"), world.count("different")) == (equal, 3 - equal)
    bodies = [orjson.loads(sent.value or b"") for sent in world.log.published]
    if not equal:
        assert [p["n"] for p in bodies[0]["shadow"]["predictions"]] == [["a", "c"]] * 2
        assert bodies[2]["shadow"]["outputs"] == {"y": [5, 5], "n": ["a", "c"]}


def test_complex_answers_are_compared_whole() -> None:
    """And published as pairs of numbers, which JSON can hold."""

    class Complex(Doubling):
        def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:  # noqa: ARG002
            return {"y": inputs["x"] + 2j}

    world = World(Complex())
    tensors = a_request({"x": np.array([1.0], np.float32)}, form=Form.TENSORS)
    first = CallOutput([tensors], {"y": np.array([1 + 1j], np.complex64)}, [1])

    world.shadow.start()
    world.shadow.offer(BatchPrediction("digits", 1, "serving_default", [first], []))
    world.shadow.close(10)

    (body,) = [orjson.loads(sent.value or b"") for sent in world.log.published]
    assert (body["primary"]["outputs"], body["shadow"]["outputs"]) == ([[1, 1]], [[1, 2]])
