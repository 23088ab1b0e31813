"""Which version answers a batch, and which one the records that it fails on.

Of a servable that is made of others, also which versions of these.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from topicserve.servables.core.errors import NotFoundError, ServableError, UnavailableError
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.pipeline.pins import NOTHING, BuiltOnServables, Held
from topicserve.servables.kinds.servable import Servable
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.worker.stages.handles import Handle, Servables
from topicserve.worker.stages.request import BatchPrediction, Request, Route, Trial
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics

PredictWith = Callable[[Sequence[Request], Handle, Route], BatchPrediction]


class Opened(NamedTuple):
    """A handle, and whether its version answers as the default."""

    handle: Handle
    is_default: bool


class VersionChoice:
    """Opens versions for routes. Any number of threads may call it at once.

    A record that names a version or label gets that one and no other. A canary's record gets the
    canary, or the default while the canary is not available or where it fails; all others get the
    default.
    """

    def __init__(
        self, servables: Servables, guard: SwapGuard | None, metrics: WorkerMetrics
    ) -> None:
        self._servables = servables
        self._guard = guard
        self._metrics = metrics
        self._canaries = Availability("canary")

    def open(self, route: Route) -> Opened:
        """Return a handle at once; ServableError where the version that must answer is missing."""
        if route.is_canary:
            try:
                handle = self._servables.get_servable_handle(_named(route))
            except ServableError as error:
                self._canaries.missing(route.servable, str(error))
            else:
                self._canaries.found(route.servable)
                return Opened(handle, is_default=False)
        request = request_of(route)
        return Opened(self._servables.get_servable_handle(request), request.default_version)

    def trial_of(self, handle: Handle, *, is_default: bool) -> frozenset[Trial]:
        """Return the version itself, where it answers by default and is on probation."""
        if self._guard is None or not is_default:
            return frozenset()
        trial = Trial(*handle.id)
        return frozenset() if self._guard.predecessor(*trial) is None else frozenset({trial})

    def steps_on_trial(self, latest: Mapping[str, int]) -> dict[Trial, int]:
        """Return those of a pipeline's steps that are on probation, each with its predecessor.

        Or just rejected: the call may have begun before.
        """
        if self._guard is None or not latest:
            return {}
        trials = {Trial(*one): self._guard.predecessor(*one) for one in latest.items()}
        return {one: before for one, before in trials.items() if before is not None}

    def predict_by_predecessor(
        self,
        route: Route,
        predicted: BatchPrediction,
        trials: frozenset[Trial],
        predict_again: PredictWith,
    ) -> None:
        """Have the version before the default predict what that failed on.

        Only while the default is on probation after a swap, or just rejected. Records on which
        both fail keep the error of the version that they were meant for.
        """
        rejected = predicted.rejected()
        if self._guard is None or not rejected:
            return
        (trial,) = trials
        predecessor = self._guard.predecessor(*trial)
        if predecessor is None:
            return  # decided meanwhile
        request = ServableRequest.specific(trial.name, predecessor)
        try:
            handle = self._servables.get_servable_handle(request)
        except NotFoundError:
            return  # unloaded since
        with handle:
            again = predict_again(rejected, handle, route)
        predicted.take_over(again, trials, predecessor)

    def predict_by_default(
        self, route: Route, predicted: BatchPrediction, predict_again: PredictWith
    ) -> None:
        """Have the default predict what a canary failed on: its records named no version.

        Records on which both fail keep the canary's error.
        """
        rejected = predicted.rejected()
        if not rejected:
            return
        try:
            handle = self._servables.get_servable_handle(ServableRequest.default(route.servable))
        except ServableError:
            return
        with handle:
            default = handle.id.version
            if default == predicted.version:
                return
            again = predict_again(rejected, handle, route)
        saved = {id(request) for request in again.answered()}
        failures = [one.error for one in predicted.rejections if id(one.polled) in saved]
        if not failures:
            return
        predicted.take_over(again, frozenset(), default)
        self._metrics.canary_fallbacks.labels(route.servable).inc(len(failures))
        log_event(
            "canary_failed",
            logging.WARNING,
            servable=route.servable,
            version=predicted.version,
            records=len(failures),
            problem=str(failures[0]),
        )

    def count_fallbacks(self, route: Route, predicted: BatchPrediction) -> None:
        """Count a canary's records that the default has predicted."""
        fallbacks = self._metrics.canary_fallbacks.labels(route.servable)
        fallbacks.inc(len(predicted.answered()) + len(predicted.rejections))


class Availability:
    """Says once that a canary or shadow is missing, and once that it is there. Thread-safe."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._missing: set[str] = set()

    def missing(self, servable: str, problem: str) -> None:
        """Note that its version is not available."""
        with self._lock:
            is_new = servable not in self._missing
            self._missing.add(servable)
        if is_new:
            event = f"{self._what}_unavailable"
            log_event(event, logging.WARNING, servable=servable, problem=problem)

    def found(self, servable: str) -> None:
        """Note that its version is available."""
        if not self._missing:
            return  # looked at for every batch
        with self._lock:
            was_missing = servable in self._missing
            self._missing.discard(servable)
        if was_missing:
            log_event(f"{self._what}_available", servable=servable)


def request_of(route: Route) -> ServableRequest:
    """Return what must answer a route: its version or label, else the default."""
    if route.is_canary or (route.version is None and route.label is None):
        return ServableRequest.default(route.servable)
    return _named(route)


def _named(route: Route) -> ServableRequest:
    return ServableRequest(route.servable, route.version, route.label)


@contextmanager
def held(servable: Servable) -> Iterator[Held]:
    """Yield what to call of a servable that is built on others; itself where one is missing."""
    assert isinstance(servable, BuiltOnServables)
    holding = servable.hold()
    try:
        found = holding.__enter__()
    except UnavailableError:
        yield Held(servable, NOTHING)  # its calls say what is missing
        return
    try:
        yield found
    finally:
        holding.__exit__(None, None, None)


def older_steps(steps: Mapping[Trial, int]) -> Iterator[Mapping[str, int]]:
    """Yield which steps' predecessors to try in their place: each one's, then all of them."""
    for trial, predecessor in steps.items():
        yield {trial.name: predecessor}
    if len(steps) > 1:
        yield {trial.name: predecessor for trial, predecessor in steps.items()}
