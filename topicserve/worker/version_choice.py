"""Which version answers a batch, and which one the records that it fails on."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from topicserve.servables.errors import NotFoundError, ServableError
from topicserve.servables.servable_request import ServableRequest
from topicserve.servables.swap_guard import SwapGuard
from topicserve.worker.handles import Handle, Servables
from topicserve.worker.logging import log_event
from topicserve.worker.metrics import WorkerMetrics
from topicserve.worker.request import Predicted, Request, Route

PredictWith = Callable[[Sequence[Request], Handle, Route], Predicted]


class Opened(NamedTuple):
    """A handle, and whether its version answers as the default."""

    handle: Handle
    is_default: bool


class VersionChoice:
    """Opens versions for routes. Any number of threads may call it at once.

    A record that names a version or label gets that one and no other. A canary's record gets the
    canary, or the default while the canary is not available; all others get the default.
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

    def answered_by_default(
        self,
        route: Route,
        predicted: Predicted,
        predict_again: PredictWith,
    ) -> None:
        """Count what the default answered; what it failed on, its predecessor predicts again.

        Only while the default is on probation after a swap, or just rejected. Records on which
        both fail keep the error of the version that they were meant for.
        """
        if self._guard is not None:
            self._guarded(self._guard, route, predicted, predict_again)
        if route.is_canary:
            fallbacks = self._metrics.canary_fallbacks.labels(route.servable)
            fallbacks.inc(len(predicted.answered()) + len(predicted.rejections))

    def _guarded(
        self, guard: SwapGuard, route: Route, predicted: Predicted, predict_again: PredictWith
    ) -> None:
        predecessor = guard.predecessor(route.servable, predicted.version)
        if predecessor is None:
            return
        answered = len(predicted.answered())
        saved = self._predict_rejected(route, predicted, predecessor, predict_again)
        self._metrics.guarded_records.labels(route.servable).inc(saved)
        guard.observe(route.servable, predicted.version, answered, saved)

    def _predict_rejected(
        self,
        route: Route,
        predicted: Predicted,
        predecessor: int,
        predict_again: PredictWith,
    ) -> int:
        """Return how many rejected records the predecessor has answered."""
        rejected = [one.polled for one in predicted.rejections if isinstance(one.polled, Request)]
        if not rejected:
            return 0
        request = ServableRequest.specific(predicted.servable, predecessor)
        try:
            handle = self._servables.get_servable_handle(request)
        except NotFoundError:
            return 0  # unloaded since: the swap was decided meanwhile
        with handle:
            again = predict_again(rejected, handle, route)
        saved = {id(request) for request in again.answered()}
        predicted.answers += [replace(one, version=predecessor) for one in again.answers]
        predicted.rejections = [one for one in predicted.rejections if id(one.polled) not in saved]
        return len(saved)


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
