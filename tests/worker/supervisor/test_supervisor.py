import threading
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from tests.support.stages.logged import Logged
from topicserve.worker.supervisor.supervisor import STOP_MARGIN_SECONDS, Supervisor
from topicserve.worker.telemetry.supervisor_metrics import SupervisorMetrics

LIMIT_SECONDS = 20


class FakeReplica:
    """A process that does what a test says."""

    def __init__(self, number: int, changed: Callable[[], None]) -> None:
        self.number = number
        self.address = ""
        self.exit_code: int | None = None
        self.asked_to_end = False
        self._changed = changed

    def become_ready(self) -> None:
        self.address = f"http://127.0.0.1:{9000 + self.number}"
        self._changed()

    def end(self, code: int) -> None:
        self.exit_code = code
        self._changed()

    def terminate(self) -> None:
        self.asked_to_end = True

    def kill(self) -> None:
        self.end(-9)


class Stage(threading.Event):
    """A supervisor of fake replicas, on a clock that moves while it waits for a change."""

    def __init__(self, replicas: int = 2) -> None:
        super().__init__()
        self.now = 0.0
        self.started: list[FakeReplica] = []
        self.registry = CollectorRegistry()
        self.launch_error: OSError | None = None
        self.on_launch: Callable[[FakeReplica], None] = lambda _: None
        self.supervisor = Supervisor(
            self._launch, replicas, 30, SupervisorMetrics(self.registry), lambda: self.now, self
        )

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if not self.is_set():
            self.now += timeout
        return self.is_set()

    def _launch(self, number: int, changed: Callable[[], None]) -> FakeReplica:
        if self.launch_error is not None:
            raise self.launch_error
        replica = FakeReplica(number, changed)
        self.started.append(replica)
        self.on_launch(replica)
        return replica

    def step(self, now: float) -> int | None:
        self.now = now
        return self.supervisor.step()

    def numbers(self) -> list[int]:
        return [replica.number for replica in self.started]

    def restarts(self, number: int) -> float | None:
        name = "topicserve_replica_restarts_total"
        return self.registry.get_sample_value(name, {"replica": str(number)})


def test_every_slot_gets_a_replica() -> None:
    """Once: a replica that runs is left alone."""
    stage = Stage(3)

    stage.step(0)
    stage.step(100)

    assert stage.numbers() == [0, 1, 2]


def test_a_replica_that_ends_is_started_again_in_its_slot(logged: Logged) -> None:
    """After the pause, under the same number and so the same membership."""
    stage = Stage()
    stage.step(0)

    stage.started[1].end(-9)
    stage.step(10)
    stage.step(10.4)
    assert stage.numbers() == [0, 1]
    stage.step(10.5)

    assert stage.numbers() == [0, 1, 1]
    assert stage.restarts(1) == 1
    assert stage.restarts(0) is None
    ended = {"replica": 1, "problem": "ended by SIGKILL", "restart_in_seconds": 0.5}
    assert logged("replica_ended") == [ended]
    assert [line["replica"] for line in logged("replica_started")] == [0, 1, 1]


def test_a_replica_that_keeps_ending_is_started_less_and_less_often() -> None:
    """The others are not touched by that."""
    stage = Stage()
    stage.step(0)
    starts = []

    for tenth in range(100):
        stage.started[-1].end(1)
        before = len(stage.started)
        stage.step(tenth / 10)
        if len(stage.started) > before:
            starts.append(tenth / 10)

    assert starts == [0.5, 1.6, 3.7, 7.8]
    assert stage.numbers().count(0) == 1


def test_a_system_that_starts_no_more_processes_is_waited_out() -> None:
    """As a replica that ended at once."""
    stage = Stage(1)
    stage.launch_error = OSError("Resource temporarily unavailable")
    stage.step(0)
    stage.launch_error = None

    stage.step(0.4)
    assert stage.numbers() == []
    stage.step(0.5)

    assert stage.numbers() == [0]


def test_what_was_told_wrong_is_not_tried_again() -> None:
    """A worker that was never ready and ends with 2 has said what is wrong."""
    stage = Stage()
    stage.step(0)

    stage.started[0].end(2)

    assert stage.step(1) == 2


def test_once_a_slot_was_ready_the_same_code_is_a_passing_fault() -> None:
    """The broker may be away in the moment in which a replica is started again."""
    stage = Stage()
    stage.step(0)
    stage.started[0].become_ready()
    stage.step(1)

    stage.started[0].end(2)

    assert stage.step(2) is None
    assert stage.step(3) is None
    assert stage.numbers() == [0, 1, 0]


def test_addresses_are_those_of_the_replicas_that_are_ready() -> None:
    """A slot whose replica is gone has none."""
    stage = Stage(3)
    stage.step(0)
    stage.started[1].become_ready()
    stage.started[2].become_ready()
    stage.started[2].end(1)
    stage.step(1)

    assert stage.supervisor.addresses() == ["", "http://127.0.0.1:9001", ""]


def test_ready_is_said_once_when_all_are() -> None:
    """Also where one had to be started twice for it."""
    stage, stop, ready = Stage(), threading.Event(), []

    def on_launch(replica: FakeReplica) -> None:
        if len(stage.started) == 2:
            replica.end(1)
        else:
            replica.become_ready()

    def on_ready() -> None:
        ready.append(stage.numbers())
        stop.set()
        for replica in stage.started:
            replica.end(0)

    stage.on_launch = on_launch

    stage.supervisor.run(stop, on_ready)

    assert ready == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((0, 0), 0), ((0, 1), 1), ((0, -15), 0), ((0, 3), 3), ((1, 3), 1)],
)
def test_a_stop_is_passed_on_and_waited_for(codes: tuple[int, int], expected: int) -> None:
    """The exit code is 0 where every replica finished what it had."""
    stage, stop = Stage(), threading.Event()
    stop.set()
    stage.step(0)
    for replica, code in zip(stage.started, codes, strict=True):
        replica.terminate = lambda replica=replica, code=code: replica.end(code)  # type: ignore[method-assign, misc]

    assert stage.supervisor.run(stop, lambda: None) == expected


def test_replicas_that_do_not_end_are_killed(logged: Logged) -> None:
    """At their own limit and a margin."""
    stage, stop = Stage(), threading.Event()
    stage.step(0)
    stop.set()
    stage.started[0].end(0)

    assert stage.supervisor.run(stop, lambda: None) == 1

    assert stage.started[1].asked_to_end
    assert stage.started[1].exit_code == -9
    assert stage.now >= 30 + STOP_MARGIN_SECONDS
    assert logged("replicas_killed") == [{"replicas": 1}]


def test_after_a_wrong_configuration_the_other_replicas_are_taken_down() -> None:
    """Nothing is left running."""
    stage = Stage()
    stage.on_launch = lambda replica: replica.end(2 if replica.number == 0 else 0)

    assert stage.supervisor.run(threading.Event(), lambda: None) == 2


def test_of_a_replica_that_is_not_there_is_told_why() -> None:
    """How the last one ended, and when the next one starts."""
    stage = Stage(1)
    stage.step(0)
    stage.now = 7
    assert stage.supervisor.told() == ["it has been starting for 7 s"]
    stage.started[0].become_ready()
    assert stage.supervisor.told() == [""]
    for code, _ in enumerate(range(3), start=3):
        stage.started[-1].end(code)
        stage.step(stage.now)
        stage.step(stage.now + 5)
    stage.started[-1].end(-9)
    stage.step(stage.now)

    assert stage.supervisor.told() == ["ended by SIGKILL, starts again in 4 s"]
    stage.step(stage.now + 5)
    stage.now += 2
    assert stage.supervisor.told() == ["ended by SIGKILL; it has been starting for 2 s"]


def test_a_replica_that_cannot_be_started_says_why() -> None:
    """The system's own words."""
    stage = Stage(1)
    stage.launch_error = OSError("out of processes")

    stage.step(0)

    assert stage.supervisor.told() == ["out of processes, starts again in 0 s"]
