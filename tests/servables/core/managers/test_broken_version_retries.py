from tests.support.servables.lifecycle import ManualTimer
from topicserve.backoff import Backoff
from topicserve.servables.core.concurrency.event_bus import EventBus
from topicserve.servables.core.errors import CancelledError, ServableError, UnknownError
from topicserve.servables.core.managers.broken_version_retries import BrokenVersionRetries
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState

S = ManagerState
BROKEN = UnknownError("broken")


class Retried:
    """Retries with pauses from 60 to 900 seconds, and who was asked to say again."""

    def __init__(self) -> None:
        self.timer = ManualTimer()
        self.said_again: list[str] = []
        self.bus: EventBus[ServableState] = EventBus()
        backoff = Backoff(60, 900)
        self.retries = BrokenVersionRetries(self.timer, backoff, self.said_again.append)
        self.bus.subscribe(self.retries.take)

    def publish(
        self, version: int, state: ManagerState, error: ServableError | None = None
    ) -> None:
        self.bus.publish(ServableState(ServableId("s", version), state, error))


def test_a_broken_version_is_said_again_after_pauses_that_grow() -> None:
    """Up to a limit."""
    retried, pauses = Retried(), []

    for _ in range(6):
        retried.publish(1, S.END, BROKEN)
        pauses += retried.timer.pauses
        retried.timer.advance(900)

    assert pauses == [60, 120, 240, 480, 900, 900]
    assert retried.said_again == ["s"] * 6


def test_a_version_that_worked_begins_anew() -> None:
    """Its pauses are short again."""
    retried = Retried()
    retried.publish(1, S.END, BROKEN)
    retried.timer.advance(60)
    retried.publish(1, S.AVAILABLE)

    retried.publish(1, S.END, BROKEN)

    assert retried.timer.pauses == [60]


def test_what_ended_well_or_was_cancelled_is_left_alone() -> None:
    """Nothing is broken."""
    retried = Retried()

    retried.publish(1, S.END)
    retried.publish(2, S.END, CancelledError("no longer aspired"))
    retried.publish(3, S.LOADING)

    assert retried.timer.pauses == []


def test_versions_that_never_come_back_are_forgotten() -> None:
    """A worker that is sent broken versions for years does not grow."""
    retried = Retried()

    for version in range(1500):
        retried.publish(version, S.END, BROKEN)

    assert len(retried.retries._failures) == 1000
