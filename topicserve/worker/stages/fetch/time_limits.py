"""How long a record waits for its body: the time of one try, of all tries, and its deadline."""

from datetime import UTC, datetime

from topicserve.backoff import Backoff
from topicserve.errors import TopicserveError
from topicserve.wire.dead_letter import Reason
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.fetch.waiting import Waiting
from topicserve.worker.stages.predict import DeadlineError
from topicserve.worker.stages.request import Rejection

_FIRST_PAUSE_SECONDS = 0.05
_JITTER = 0.2
# A proxy may break an answer once; a server that does so again and again is not away.
_BROKEN_ANSWERS = 3


class BodyUnavailableError(TopicserveError):
    """The store of a record's body did not answer for too long."""


class TimeLimits:
    """Says when a record's time is over. Its caller holds the fetcher's lock."""

    def __init__(self, environment: Environment) -> None:
        self._wait_seconds = environment.config.dataref.wait_seconds
        self._timeout_seconds = environment.config.dataref.timeout_seconds
        self._wall_clock = environment.wall_clock
        most = environment.config.delivery.max_retry_pause_seconds
        self.backoff = Backoff(_FIRST_PAUSE_SECONDS, most, _JITTER)

    def try_seconds(self, waiting: Waiting, now: float) -> float:
        """Return how long a try that begins now may take: the last one ends when all must."""
        left = min(waiting.give_up_at - now, self._deadline_seconds(waiting))
        return min(self._timeout_seconds, left)

    def is_short(self, seconds: float) -> bool:
        """Return whether a try has less time than usual, so that its end tells less."""
        return seconds < self._timeout_seconds

    def ended(self, waiting: Waiting, now: float) -> Rejection | None:
        """Return the rejection of a record whose time is over; None while it may be fetched."""
        if self._deadline_seconds(waiting) <= 0:
            deadline = waiting.request.input.deadline
            error = DeadlineError(f"the deadline {deadline} had passed before the body was fetched")
            return Rejection(waiting.request, Reason.DEADLINE_EXCEEDED, error)
        return _unavailable(waiting) if now >= waiting.give_up_at else None

    def after_failure(
        self, waiting: Waiting, started: float, now: float, problem: str, *, is_broken: bool
    ) -> float | Rejection:
        """Note that a try failed; return the pause before the next one, or why there is none.

        `is_broken` says that the server answered with what is no proper answer.
        """
        waiting.failures += 1
        if waiting.failures == 1:
            waiting.give_up_at = started + self._wait_seconds
        waiting.problem = problem
        waiting.broken_answers += is_broken
        # A broken answer gets longer pauses: few tries must outlast a server that restarts.
        pauses = waiting.failures + (_BROKEN_ANSWERS if is_broken else 0)
        pause = self.backoff.pause_within(pauses, waiting.give_up_at - now)
        if pause is None or waiting.broken_answers >= _BROKEN_ANSWERS:
            return _unavailable(waiting)
        return pause

    def _deadline_seconds(self, waiting: Waiting) -> float:
        deadline = waiting.request.input.deadline
        if deadline is None:
            return float("inf")
        return (deadline - datetime.fromtimestamp(self._wall_clock(), UTC)).total_seconds()


def _unavailable(waiting: Waiting) -> Rejection:
    problem = f"not fetched in {waiting.failures} tries: {waiting.problem}"
    return Rejection(waiting.request, Reason.DATAREF_UNAVAILABLE, BodyUnavailableError(problem))
