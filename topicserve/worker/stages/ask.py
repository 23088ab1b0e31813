"""Stage: bodies of a user's own are asked what their records want, where they say so themselves.

It stands in front of the batcher, and behind the quarantine: a body that does not return, or that
ends the process, is found as a prediction is that does so.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.batch import Gathers
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.request import Polled, Rejection, Request

# How often the polling thread looks whether a body takes too long; it is woken when all are done.
_LOOK_SECONDS = 0.1


class BodyAsker:
    """Asks bodies on a thread of its own, so that the polling thread can note one that hangs.

    The polling thread adds what is to be asked, and waits for the answers, for as long as a
    prediction may take, or a stop. Once it has given up, nothing more passes: it would be answered
    before what is left unanswered. What other threads add has been asked, and passes.
    """

    def __init__(
        self, environment: Environment, tracker: OffsetTracker, gate: Gathers, decoder: Decoder
    ) -> None:
        self._timeout_seconds = environment.config.delivery.predict_timeout_seconds
        self._fatal = environment.fatal
        self._stop_time = environment.stop_time
        self._clock = environment.clock
        self._tracker = tracker
        self._gate = gate
        self.decoder = decoder
        """Used by one thread at a time."""
        self.on_suspect_rejected: Callable[[], None] = lambda: None
        """Called for each suspected record that is given up unpredicted."""
        self.on_hang: Callable[[Request], None] = lambda _: None
        """Called for a record whose body does not return: it ends the worker."""
        self._gave_up = False
        self._waiting: queue.SimpleQueue[_Asking] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, requests: Sequence[Request], rejections: Sequence[Rejection], epoch: int) -> None:
        """Pass records on, those with a body to be asked once that has answered."""
        if self._gave_up:
            return  # they stay uncommitted: the worker ends
        unasked = [one for one in requests if one.is_unasked]
        if unasked:
            answers = self._answers(unasked)
            if answers is None:
                self._gave_up = True
                return
            found = [next(answers) if one.is_unasked else one for one in requests]
            requests = [one for one in found if isinstance(one, Request)]
            refused = [one for one in found if isinstance(one, Rejection)]
            rejections = [*rejections, *refused]
        if requests or rejections:
            self._gate.add(requests, rejections, epoch)

    def add_again(self, requests: Sequence[Request], epoch: int) -> None:
        """Take single records back, which were asked before."""
        self._gate.add_again(requests, epoch)

    def drop_revoked(self) -> list[Polled]:
        """Drop what waits for partitions that are no longer ours; nothing waits here."""
        return self._gate.drop_revoked()

    def _answers(self, unasked: Sequence[Request]) -> Iterator[Request | Rejection] | None:
        """Return what becomes of each request; None where the worker ends before all have."""
        if self._fatal.error is not None:
            return None
        asking = _Asking(unasked, self._clock)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="topicserve-ask", daemon=True)
            self._thread.start()
        self._waiting.put(asking)
        while not asking.done.wait(_LOOK_SECONDS):
            request, since = asking.current
            if self._timeout_seconds and self._clock() - since > self._timeout_seconds:
                self.on_hang(request)
                return None
            if self._fatal.error is not None or self._has_stopped():
                return None
        before, after = (sum(size_of(one) for one in ones) for ones in (unasked, asking.answers))
        self._tracker.count_bytes(after - before)
        for request, answer in zip(unasked, asking.answers, strict=True):
            if request.route.is_suspect and isinstance(answer, Rejection):
                self.on_suspect_rejected()
        return iter(asking.answers)

    def _has_stopped(self) -> bool:
        """Return whether a stop has waited for bodies for as long as it may."""
        return self._stop_time.begun() and not self._stop_time.left_seconds

    def _run(self) -> None:
        try:
            while True:
                self._waiting.get().run(self.decoder)
        except BaseException as error:
            self._fatal.report(error)


def size_of(outcome: Request | Rejection) -> int:
    """Return what a record counts in memory."""
    return (outcome.polled if isinstance(outcome, Rejection) else outcome).size_bytes


class _Asking:
    """What is asked at once. The asking thread writes, the polling thread waits."""

    def __init__(self, requests: Sequence[Request], clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        self.current = requests[0], clock()
        """What is being asked, and since when; one assignment, no lock."""
        self.answers: list[Request | Rejection] = []
        self.done = threading.Event()

    def run(self, decoder: Decoder) -> None:
        for request in self._requests:
            self.current = request, self._clock()
            self.answers.append(decoder.ask(request))
        self.done.set()
