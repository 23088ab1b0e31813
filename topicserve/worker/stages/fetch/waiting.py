"""Records that wait for their body, and those of the same key behind them."""

from collections import deque
from dataclasses import dataclass

from topicserve.backends.references.allow_list import Location
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.request import Rejection, Request


@dataclass(slots=True, eq=False)
class Waiting:
    """A record on its way to the batcher."""

    request: Request
    epoch: int
    number: int
    """By which records are in the order in which they were polled."""
    location: Location | None = None
    """Where its body lies; None where it only waits behind another record."""
    outcome: Request | Rejection | None = None
    """What goes on in its place, once that is known."""
    failures: int = 0
    """How many of its tries failed, but for probes."""
    broken_answers: int = 0
    """How many of these were answered with what is no proper answer."""
    failed_at: float = float("inf")
    """When a try or a probe failed first."""
    probes: int = 0
    """How often its store was asked for it only to see whether it answers again."""
    is_probe: bool = False
    """Whether its present try is one of these."""
    give_up_at: float = float("inf")
    """When its tries must have ended, from its first failure on."""
    problem: str = ""
    """Why its last try failed."""

    @property
    def is_revoked(self) -> bool:
        """Return whether its partition is no longer ours."""
        return self.request.assignment.closed


class KeyOrder:
    """Lets records with a key go on in the order in which they were polled.

    Those without a key have no order. The caller holds a lock.
    """

    def __init__(self) -> None:
        self._chains: dict[tuple[PartitionAssignment, bytes], deque[Waiting]] = {}

    def __bool__(self) -> bool:
        """Return whether any record with a key waits."""
        return bool(self._chains)

    def holds_back(self, request: Request) -> bool:
        """Return whether a record of the same key waits already."""
        key = request.record.key
        return key is not None and (request.assignment, key) in self._chains

    def add(self, waiting: Waiting) -> None:
        """Let a record wait behind those of its key."""
        key = waiting.request.record.key
        if key is not None:
            self._chains.setdefault((waiting.request.assignment, key), deque()).append(waiting)

    def release(self, waiting: Waiting) -> list[Waiting]:
        """Return what may go on now that a record has its outcome, in order."""
        key = waiting.request.record.key
        if key is None:
            return [waiting]
        place = waiting.request.assignment, key
        chain = self._chains[place]
        released = []
        while chain and chain[0].outcome is not None:
            released.append(chain.popleft())
        if not chain:
            del self._chains[place]
        return released
