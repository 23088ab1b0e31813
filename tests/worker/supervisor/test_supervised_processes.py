import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from tools.reference_pages import CHECKOUT
from topicserve.worker.supervisor.pages import ReplicaCollector, Replicas, SupervisorPages
from topicserve.worker.supervisor.replica import ReplicaProcess
from topicserve.worker.supervisor.supervisor import Supervisor
from topicserve.worker.telemetry.supervisor_metrics import SupervisorMetrics

LIMIT_SECONDS = 30


class Launched:
    """Starts stubs in place of workers, and lets a test wait for what they do."""

    def __init__(self) -> None:
        self.replicas: list[ReplicaProcess] = []
        self._something = threading.Condition()

    def launch(self, slot: int, changed: Callable[[], None]) -> ReplicaProcess:
        def told() -> None:
            changed()
            with self._something:
                self._something.notify_all()

        command = [sys.executable, "-m", "tests.support.processes.stub_replica", str(slot)]
        replica = ReplicaProcess(command, told)
        self.replicas.append(replica)
        return replica

    def wait_until(self, true: Callable[[], bool]) -> None:
        with self._something:
            assert self._something.wait_for(true, LIMIT_SECONDS)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    """Kill whatever a test leaves behind."""
    monkeypatch.chdir(CHECKOUT)
    started = Launched()
    yield started
    for replica in started.replicas:
        replica.kill()


def test_a_killed_replica_comes_back_and_all_of_them_end_together(launched: Launched) -> None:
    """One address answers for all, before and after."""
    registry = CollectorRegistry()
    metrics = SupervisorMetrics(registry)
    supervisor = Supervisor(launched.launch, 2, 10, metrics)
    replicas = Replicas(supervisor.addresses)
    registry.register(ReplicaCollector(replicas, metrics))
    pages = SupervisorPages(registry, replicas)
    stop, ready = threading.Event(), threading.Event()

    def consumed() -> list[str]:
        text = pages.get("/metrics").body.decode().splitlines()
        return sorted(line for line in text if line.startswith("topicserve_records_consumed_total"))

    both = [
        'topicserve_records_consumed_total{replica="0",topic="digits"} 1.0',
        'topicserve_records_consumed_total{replica="1",topic="digits"} 2.0',
    ]
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(supervisor.run, stop, ready.set)
        try:
            assert ready.wait(LIMIT_SECONDS)
            assert consumed() == both

            os.kill(launched.replicas[0]._process.pid, signal.SIGKILL)
            launched.wait_until(lambda: len(launched.replicas) == 3)
            launched.wait_until(lambda: bool(launched.replicas[2].address))

            assert consumed() == both
            assert json.loads(pages.get("/readyz").body) == {"ok": True, "problems": []}
        finally:
            stop.set()
        assert ending.result(LIMIT_SECONDS) == 0
    name = "topicserve_replica_restarts_total"
    assert registry.get_sample_value(name, {"replica": "0"}) == 1


def test_replicas_end_when_their_supervisor_is_gone(launched: Launched) -> None:
    """By themselves: a supervisor that was killed tells no one."""
    replica = launched.launch(0, lambda: None)
    launched.wait_until(lambda: bool(replica.address))
    assert replica._process.stdin is not None

    replica._process.stdin.close()  # as the system does for a process that ends

    launched.wait_until(lambda: replica.exit_code is not None)
    assert replica.exit_code == 0
