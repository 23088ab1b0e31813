"""`topicserve worker --replicas N`: keeps N workers of one group running.

It reads no record and holds no model: what it knows of a replica is its exit code, its address and
what its pages say.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator

from topicserve.exit_codes import EXIT_BREAKER_OPEN, EXIT_FAILED, EXIT_OK, EXIT_USAGE
from topicserve.worker.supervisor.replica import Replica, RestartPolicy
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.supervisor_metrics import SupervisorMetrics

# What a worker may take beyond its own limit: leaving the group, closing connections.
STOP_MARGIN_SECONDS = 10.0
MAX_WAIT_SECONDS = 0.5

Launch = Callable[[int, Callable[[], None]], Replica]
"""Starts the replica of a slot; what it is given is to be called whenever something changed."""


class Slot:
    """One place in the group: the same membership, whichever process has it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.replica: Replica | None = None
        self.policy = RestartPolicy()
        self.started_at = 0.0
        self.due_at = 0.0
        self.last_end = ""
        """How the last one ended; empty where none has."""
        self.was_ready = False

    @property
    def address(self) -> str:
        """Return the HTTP address of the replica that runs now; empty where none is ready."""
        return self.replica.address if self.replica is not None else ""

    def told(self, now: float) -> str:
        """Return why there is no address; empty where there is one."""
        if self.address:
            return ""
        if self.replica is None:
            return f"{self.last_end}, starts again in {max(self.due_at - now, 0):.0f} s"
        starts = f"it has been starting for {now - self.started_at:.0f} s"
        return f"{self.last_end}; {starts}" if self.last_end else starts


class Supervisor:
    """Starts the replicas, starts those again that end, and takes all of them down.

    One thread runs it; `slots` may be read from any.
    """

    def __init__(
        self,
        launch: Launch,
        replicas: int,
        shutdown_timeout_seconds: float,
        metrics: SupervisorMetrics,
        clock: Callable[[], float] = time.monotonic,
        changed: threading.Event | None = None,
    ) -> None:
        self.slots = tuple(Slot(number) for number in range(replicas))
        self._launch = launch
        self._stop_seconds = shutdown_timeout_seconds + STOP_MARGIN_SECONDS
        self._metrics = metrics
        self._clock = clock
        self._changed = changed or threading.Event()

    def run(self, stop: threading.Event, on_ready: Callable[[], None]) -> int:
        """Supervise until `stop` is set; return the exit code.

        `on_ready` is called once, when every slot has had a replica that was ready.
        """
        announced = False
        while not stop.is_set():
            self._changed.clear()
            failed = self.step()
            if failed is not None:
                self._take_down()
                return failed
            if not announced and all(slot.was_ready for slot in self.slots):
                announced = True
                on_ready()
            self._changed.wait(MAX_WAIT_SECONDS)
        return self._take_down()

    def step(self) -> int | None:
        """Look at every slot once; return an exit code where going on is of no use."""
        for slot in self.slots:
            code = self._note_end(slot)
            # A worker that was never ready and says that it was told something wrong will say so
            # again. One that was ready once has met a passing fault, whatever it says.
            if code == EXIT_USAGE and not slot.was_ready:
                return code
            if slot.replica is None and slot.due_at <= self._clock():
                self._start(slot)
            slot.was_ready = slot.was_ready or bool(slot.address)
        return None

    def kill(self) -> None:
        """End all replicas at once. Any thread may call it."""
        for replica in self._replicas():
            replica.kill()

    def kill_replica(self, number: int, address: str) -> bool:
        """End one at once, if it still has that address; return whether it did. Any thread."""
        replica = self.slots[number].replica
        if replica is None or replica.address != address:
            return False
        replica.kill()
        return True

    def _note_end(self, slot: Slot) -> int | None:
        if slot.replica is None:
            return None
        code = slot.replica.exit_code
        if code is not None:
            slot.replica = None
            self._plan_restart(slot, _name_of(code))
        return code

    def _plan_restart(self, slot: Slot, problem: str) -> None:
        now = self._clock()
        pause = slot.policy.pause_seconds(now - slot.started_at)
        slot.due_at, slot.last_end = now + pause, problem
        self._metrics.replica_restarts.labels(str(slot.number)).inc()
        log_event(
            "replica_ended",
            logging.WARNING,
            replica=slot.number,
            problem=problem,
            restart_in_seconds=pause,
        )

    def _start(self, slot: Slot) -> None:
        slot.started_at = self._clock()
        try:
            slot.replica = self._launch(slot.number, self._changed.set)
        except OSError as error:  # out of processes or memory: that passes
            self._plan_restart(slot, str(error))
        else:
            log_event("replica_started", replica=slot.number)

    def _take_down(self) -> int:
        """Ask all replicas to end, and end those that take too long."""
        for replica in self._replicas():
            replica.terminate()
        deadline = self._clock() + self._stop_seconds
        while (codes := [replica.exit_code for replica in self._replicas()]).count(None):
            if self._clock() >= deadline:
                log_event("replicas_killed", logging.ERROR, replicas=codes.count(None))
                self.kill()
                return EXIT_FAILED
            self._changed.wait(MAX_WAIT_SECONDS)
            self._changed.clear()
        # A replica that was started just now had no handler for the signal yet, and no record.
        others = set(codes) - {0, -signal.SIGTERM}
        if others == {EXIT_BREAKER_OPEN}:
            return EXIT_BREAKER_OPEN
        return EXIT_FAILED if others else EXIT_OK

    def addresses(self) -> list[str]:
        """Return each slot's HTTP address, empty where none is ready. Any thread may call it."""
        return [slot.address for slot in self.slots]

    def told(self) -> list[str]:
        """Return of each slot why it has no address; empty where it has one. Any thread."""
        now = self._clock()
        return [slot.told(now) for slot in self.slots]

    def _replicas(self) -> Iterator[Replica]:
        for slot in self.slots:
            replica = slot.replica
            if replica is not None:
                yield replica


def _name_of(code: int) -> str:
    """Return an exit code, or the signal that ended a process, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
