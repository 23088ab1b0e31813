"""Goes back to the version before when a new one fails on what that one answers.

Only for a new default: canaries and shadows have their own ways to be compared and withdrawn.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

# Fewer records say too little: of ten, five fail by chance where a third does.
_LEAST_RECORDS = 10
_MAX_UNLOADED = 100


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """When a new version is rejected, and when it has proven itself."""

    share: float = 0.5
    """Rejected when it fails on more than this share of the records that one of the two answers."""
    records: int = 100
    """So many records decide; 0 switches the guard off."""


class Verdict(Enum):
    """How a probation goes."""

    STARTED = "started"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Probation:
    """What became of a new version, beside the one before it."""

    name: str
    version: int
    predecessor: int
    verdict: Verdict
    records: int = 0
    failed: int = 0

    def reason(self) -> str:
        """Return why a version was rejected."""
        return (
            f"rejected after the swap: it failed on {self.failed} of {self.records} records that "
            f"it or version {self.predecessor} answered; version {self.predecessor} took over again"
        )


@dataclass(slots=True)
class _Swap:
    """One servable's default version, over time."""

    proven: int | None = None
    candidate: int | None = None
    records: int = 0
    failed: int = 0
    rejected: dict[int, str] = field(default_factory=dict)
    unloaded: dict[int, str] = field(default_factory=dict)
    """Versions that were rejected and are gone by now: the reason is for people alone."""

    def forget_all_but(self, available: Sequence[int]) -> None:
        if self.rejected or self.unloaded:
            told = self.unloaded | self.rejected
            self.rejected = {one: why for one, why in self.rejected.items() if one in available}
            unloaded = [one for one in told if one not in available][-_MAX_UNLOADED:]
            self.unloaded = {one: told[one] for one in unloaded}
        if self.candidate not in available:
            self.candidate = None
        if self.proven not in available:
            self.proven = None

    def start(self, candidate: int) -> None:
        self.candidate, self.records, self.failed = candidate, 0, 0

    def is_kept(self) -> bool:
        """Return whether the proven version must stay loaded beside a newer one."""
        if self.proven is None:
            return False
        return self.candidate is not None or any(one > self.proven for one in self.rejected)


class SwapGuard:
    """Decides, for each servable, whether the version that became the default stays it.

    A new default is on probation while the version before it stays loaded as its predecessor. The
    worker has the predecessor predict the records on which the new one fails, and reports both
    here. Rejected, a version stays loaded but is no default any more, until it is unloaded or its
    configuration changes. All of it is known to this process only. Any thread may call it.
    """

    def __init__(
        self,
        limits: Callable[[str], GuardLimits],
        heard: Callable[[Probation], None] = lambda _: None,
    ) -> None:
        """Take the limits by servable, and who hears of each verdict, called without a lock."""
        self._limits = limits
        self._heard = heard
        self._changed: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._swaps: dict[str, _Swap] = {}

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed`, without a lock, when another version answers or may be unloaded."""
        self._changed = changed

    def choose(
        self,
        name: str,
        available: Callable[[], Sequence[int]],
        in_order: Callable[[Sequence[int]], Sequence[int]],
    ) -> int | None:
        """Return the default: the first in order that is not rejected; None where there is none.

        `available` is asked under the lock, so that answers come in the order of what was
        available. A version that is not available may be first; then it is waited for.
        """
        with self._lock:
            versions = available()
            swap = self._swaps.setdefault(name, _Swap())
            swap.forget_all_but(versions)
            order = in_order(versions)
            chosen = next((one for one in order if one not in swap.rejected), swap.proven)
            if chosen is None and order:
                chosen = order[0]
            started = self._note(swap, name, chosen, versions)
        if started is not None:
            self._heard(started)
        return chosen

    def _note(
        self, swap: _Swap, name: str, chosen: int | None, versions: Sequence[int]
    ) -> Probation | None:
        """Note which version is the default now; return the probation that begins with it."""
        if chosen is None or chosen not in versions or chosen == swap.candidate:
            return None
        proven = swap.proven
        if chosen == proven:
            swap.candidate = None
            return None
        # A lower version becomes the default by the operator's own decision: a rollback.
        if proven is None or chosen < proven or not self._limits(name).records:
            swap.proven, swap.candidate = chosen, None
            return None
        swap.start(chosen)
        return Probation(name, chosen, proven, Verdict.STARTED)

    def kept(self, name: str) -> frozenset[int]:
        """Return the version that must stay loaded as a predecessor, as `choose` left it last."""
        with self._lock:
            swap = self._swaps.get(name)
            if swap is None or not swap.is_kept():
                return frozenset()
            assert swap.proven is not None
            return frozenset({swap.proven})

    def predecessor(self, name: str, version: int) -> int | None:
        """Return which version predicts what `version` failed on; None where none does."""
        swap = self._swaps.get(name)
        if swap is None or (swap.candidate is None and not swap.rejected):
            return None  # looked at for every batch
        with self._lock:
            if version != swap.candidate and version not in swap.rejected:
                return None
            return None if swap.proven == version else swap.proven

    def observe(self, name: str, version: int, answered: int, failed: int) -> None:
        """Note how many records a version answered, and on how many only it failed.

        Records on which the predecessor fails too belong to neither.
        """
        with self._lock:
            swap = self._swaps.get(name)
            if swap is None or swap.candidate != version or swap.proven is None:
                return
            swap.records += answered + failed
            swap.failed += failed
            decided = self._decide(swap, name)
        if decided is not None:
            self._heard(decided)
            self._changed()

    def rejections(self, name: str) -> dict[int, str]:
        """Return the versions that are rejected now, each with the reason."""
        swap = self._swaps.get(name)
        if swap is None or not swap.rejected:
            return {}  # looked at for every call of a pipeline
        with self._lock:
            return dict(swap.rejected)

    def reasons(self, name: str) -> dict[int, str]:
        """Return the same, with the versions that were unloaded after it and did not come back."""
        with self._lock:
            swap = self._swaps.get(name)
            return {} if swap is None else swap.unloaded | swap.rejected

    def forget(self, name: str) -> None:
        """Begin again with a servable: its configuration has changed."""
        with self._lock:
            self._swaps.pop(name, None)

    def _decide(self, swap: _Swap, name: str) -> Probation | None:
        limits = self._limits(name)
        version, predecessor = swap.candidate, swap.proven
        assert version is not None
        assert predecessor is not None
        seen = (name, version, predecessor), (swap.records, swap.failed)
        enough = min(_LEAST_RECORDS, limits.records)
        if swap.records >= enough and swap.failed > limits.share * swap.records:
            verdict = Probation(*seen[0], Verdict.REJECTED, *seen[1])
            swap.rejected[version] = verdict.reason()
            swap.candidate = None
            return verdict
        if swap.records >= limits.records:
            swap.proven, swap.candidate = version, None
            return Probation(*seen[0], Verdict.ACCEPTED, *seen[1])
        return None
