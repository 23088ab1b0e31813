"""Whether there is room for a load, and who waits for some (resource rules of basic_manager.h)."""

from enum import Enum
from typing import Protocol

from topicserve.servables.core.errors import ResourceExhaustedError, ServableError
from topicserve.servables.core.managers.loader_harness import (
    USES_RESOURCES,
    HarnessState,
    LoaderHarness,
)
from topicserve.servables.core.managers.managed_servables import ManagedServables
from topicserve.servables.core.resources.resource_tracker import ResourceTracker


class OnInsufficientResources(Enum):
    """What becomes of a load for which there is no room while nothing is being unloaded."""

    FAIL = "fail"
    """It ends in RESOURCE_EXHAUSTED, as in TF Serving."""
    WAIT = "wait"
    """It waits until something is unloaded; unless it would not fit into all there is."""


class Applicant(Protocol):
    """A load that has said what it takes.

    Exactly one of `approved` and `denied` is called, unless it was withdrawn. Both come under the
    manager's lock: they hand work on and return.
    """

    @property
    def harness(self) -> LoaderHarness:
        """Its version, in LOAD_REQUESTED."""

    def approved(self) -> None:
        """There is room: the load may begin. Called under the manager's lock."""

    def denied(self, error: ServableError) -> None:
        """There is none. Called under the manager's lock."""


class Admission:
    """Admits loads in the order in which they came. All calls are made under the manager's lock.

    One that has to wait holds no one up: those behind it are considered as well, and it is
    considered first, before them, whenever something was released.
    """

    def __init__(
        self,
        managed: ManagedServables,
        tracker: ResourceTracker,
        on_insufficient: OnInsufficientResources,
    ) -> None:
        self._managed = managed
        self._tracker = tracker
        self._on_insufficient = on_insufficient
        self._waiting: list[Applicant] = []  # bounded by the versions managed

    def apply(self, applicant: Applicant) -> None:
        """Decide on one more."""
        self._waiting.append(applicant)
        self.reconsider()

    def withdraw(self, applicant: Applicant) -> bool:
        """Take one out that waits; False when it does not."""
        if applicant not in self._waiting:
            return False
        self._waiting.remove(applicant)
        return True

    def reconsider(self) -> None:
        """Decide again on all that wait: something may have been released."""
        waiting, self._waiting = self._waiting, []
        for applicant in waiting:
            self._decide(applicant)

    def _decide(self, applicant: Applicant) -> None:
        harness = applicant.harness
        self._tracker.recompute_used(
            one.resources for one in self._managed.harnesses() if one.state in USES_RESOURCES
        )
        try:
            has_room = self._tracker.reserve(harness.resources)
            may_fit = has_room or self._tracker.could_ever_fit(harness.resources)
        except ServableError as error:
            applicant.denied(error)
            return
        if has_room:
            applicant.approved()
        elif may_fit and self._is_worth_waiting():
            self._waiting.append(applicant)
        else:
            applicant.denied(
                ResourceExhaustedError(
                    f"Insufficient resources to load servable {harness.id}: it takes "
                    f"{harness.resources}, {self._tracker.used} of {self._tracker.total} are used"
                )
            )

    def _is_worth_waiting(self) -> bool:
        return self._on_insufficient is OnInsufficientResources.WAIT or any(
            one.state in USES_RESOURCES and one.state is not HarnessState.READY
            for one in self._managed.harnesses()
        )
