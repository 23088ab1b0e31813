"""Stage: a batch becomes outputs, under one handle and so by one version.

It runs on a batch thread. Which version answers is `version_choice.py`'s to say, and how columns
are made of records and cut up again `calls`'.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import (
    InvalidArgumentError,
    NotFoundError,
    ServableError,
    UnavailableError,
    error_text,
    status_code,
)
from topicserve.servables.kinds.pipeline.pins import BuiltOnServables
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.wire.dead_letter import Reason
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.calls.calls import Calls, PredictError, ServableUnavailableError
from topicserve.worker.stages.calls.second_tries import SecondTries
from topicserve.worker.stages.handles import Handle, Servables
from topicserve.worker.stages.request import (
    Batch,
    BatchPrediction,
    Rejection,
    Request,
    Route,
    Trial,
)
from topicserve.worker.stages.routing import unknown_servable
from topicserve.worker.stages.version_choice import VersionChoice, held, older_steps, request_of
from topicserve.worker.telemetry.logging import log_event


class DeadlineError(TopicserveError):
    """The record's deadline passed before its turn came."""


class Predictor:
    """Predicts batches. Any number of threads may call it at once."""

    def __init__(
        self,
        environment: Environment,
        servables: Servables,
        sizer: BatchSizer,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        guard: SwapGuard | None = None,
        tries: SecondTries | None = None,
    ) -> None:
        config, metrics, clock = environment.config, environment.metrics, environment.clock
        batching = config.batching
        self._servables = servables
        self._choice = VersionChoice(servables, guard, metrics)
        self._unknown_version_timeout_seconds = config.delivery.unknown_version_timeout_seconds
        self._sizer = sizer
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._calls = Calls(
            batching.allowed_batch_sizes, batching.check_batches, metrics, clock, tries
        )

    def predict(self, batch: Batch) -> BatchPrediction:
        """Return what became of each request; the batch is left with those.

        Raises ServableUnavailableError for the batch as a whole.
        """
        requests, expired = self._without_expired(batch.requests)
        if not requests:
            return BatchPrediction(batch.route.servable, 0, batch.route.signature_name, [], expired)
        try:
            handle, is_default = self._choice.open(batch.route)
        except (NotFoundError, InvalidArgumentError) as error:
            return self._without_version(batch, requests, expired, error)
        except ServableError as error:
            raise ServableUnavailableError(str(error)) from error
        with handle:
            trials = self._choice.trial_of(handle, is_default=is_default)
            started = self._clock()
            predicted = self._predict_with(requests, handle, batch.route, trials, may_leave=True)
            batch.cost = predicted.cost
            if predicted.first_left is not None:
                batch.leave(predicted.first_left)
                kept = set(map(id, batch.requests))
                expired = [one for one in expired if id(one.polled) in kept]
            self._sizer.observe(batch.route, batch.rows, self._clock() - started)
        self._metrics.batches.labels(batch.ended_by.value).inc()
        self._metrics.batch_rows.labels(predicted.servable).observe(batch.rows)
        self._metrics.batch_wait_seconds.labels(predicted.servable).observe(batch.waited_seconds)
        if trials:
            self._choice.predict_by_predecessor(batch.route, predicted, trials, self._predict_with)
        if is_default and batch.route.is_canary:
            self._choice.count_fallbacks(batch.route, predicted)
        elif batch.route.is_canary:
            self._choice.predict_by_default(batch.route, predicted, self._predict_with)
        predicted.rejections += expired
        return predicted

    def _without_expired(self, requests: list[Request]) -> tuple[list[Request], list[Rejection]]:
        """Part with the records whose deadline has passed: they cost no model time."""
        if all(request.input.deadline is None for request in requests):
            return requests, []
        now = self._now()
        kept, expired = [], []
        for request in requests:
            deadline = request.input.deadline
            if deadline is None or deadline > now:
                kept.append(request)
            else:
                error = DeadlineError(f"the deadline {deadline.isoformat()} had passed")
                expired.append(Rejection(request, Reason.DEADLINE_EXCEEDED, error))
        return kept, expired

    def _without_version(
        self,
        batch: Batch,
        requests: Sequence[Request],
        expired: list[Rejection],
        error: ServableError,
    ) -> BatchPrediction:
        """Wait for a version that may still come; for one that no one knows, only so long.

        A servable that was removed from the configuration meanwhile is not waited for at all: a
        worker that starts now rejects its records too.
        """
        route, reason = batch.route, Reason.UNKNOWN_VERSION
        problem: Exception = error
        served = self._servables.names()
        if route.servable not in served:
            reason, problem = Reason.UNKNOWN_SERVABLE, unknown_servable(route.servable, served)
        elif self._is_waited_for(route, requests):
            raise ServableUnavailableError(str(error)) from error
        rejections = [Rejection(request, reason, problem) for request in requests]
        return BatchPrediction(
            route.servable, route.version or 0, route.signature_name, [], rejections + expired
        )

    def _is_waited_for(self, route: Route, requests: Sequence[Request]) -> bool:
        patient = self._clock() - requests[0].polled_at < self._unknown_version_timeout_seconds
        return patient or self._servables.may_become_available(request_of(route))

    def _predict_with(
        self,
        requests: Sequence[Request],
        handle: Handle,
        route: Route,
        trials: frozenset[Trial] = frozenset(),
        *,
        may_leave: bool = False,
    ) -> BatchPrediction:
        """Predict, and again with older steps what a pipeline fails on while new ones are tried.

        `trials` has the version itself, where that is on probation.
        """
        try:
            if not isinstance(handle.servable, BuiltOnServables):
                return self._calls.predict(
                    requests, handle.servable, handle, route, trials, may_leave=may_leave
                )
            with held(handle.servable) as (servable, latest):
                steps = self._choice.steps_on_trial(latest)
                predicted = self._calls.predict(
                    requests, servable, handle, route, trials.union(steps), may_leave=may_leave
                )
        except (ServableUnavailableError, ServableError):
            raise
        # What a servable raises is its record's error, and never comes here: this is a fault of the
        # worker's own. It must not end all replicas one after the other.
        except Exception as error:
            return self._find_fault(requests, handle, route, trials, error)
        for instead in older_steps(steps):
            rejected = predicted.rejected()
            if not rejected:
                break
            others = frozenset(trial for trial in steps if trial.name not in instead)
            with suppress(UnavailableError), handle.servable.hold(instead) as (servable, _):
                again = self._calls.predict(rejected, servable, handle, route, trials | others)
                predicted.take_over(again, steps.keys() - others)
        return predicted

    def _find_fault(
        self,
        requests: Sequence[Request],
        handle: Handle,
        route: Route,
        trials: frozenset[Trial],
        error: Exception,
    ) -> BatchPrediction:
        """Predict each record alone after an error of the worker's own, and reject what has it."""
        name, version = handle.id
        predicted = BatchPrediction(route.servable, version, route.signature_name, [], [])
        if len(requests) > 1:
            for request in requests:
                alone = self._predict_with([request], handle, route, trials)
                predicted.answers += alone.answers
                predicted.rejections += alone.rejections
            return predicted
        self._metrics.predict_failures.labels(name, status_code(error)).inc()
        log_event(
            "worker_fault",
            logging.ERROR,
            servable=name,
            version=version,
            signature=route.signature_name,
            traceback_of=error,
        )
        failure = PredictError(f"a fault of the worker, not of the model: {error_text(error)}")
        predicted.rejections += [Rejection(one, Reason.PREDICT_FAILED, failure) for one in requests]
        return predicted


class PredictWatch:
    """Batch threads say what they predict; the polling thread asks what does not return."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[int, tuple[float, Batch]] = {}
        self._finished_seconds = 0.0

    def predicting(self, batch: Batch) -> Self:
        """Say that this thread predicts the batch, until the end of the `with` block."""
        with self._lock:
            self._running[threading.get_ident()] = self._clock(), batch
        return self

    def __enter__(self) -> None:
        """Begin nothing more: `predicting` has said it."""

    def __exit__(self, *error: object) -> None:
        """Say that this thread's prediction has returned, or has failed."""
        with self._lock:
            started, _ = self._running.pop(threading.get_ident())
            self._finished_seconds += self._clock() - started

    def running_for(self, seconds: float) -> list[Batch]:
        """Return the batches that have been predicted for longer than this."""
        limit = self._clock() - seconds
        with self._lock:
            return [batch for started, batch in self._running.values() if started < limit]

    def busy_seconds(self) -> float:
        """Return how long batches have been predicted in all, those that still are included."""
        with self._lock:
            now = self._clock()
            running = sum(now - started for started, _ in self._running.values())
            return self._finished_seconds + running

    def longest(self) -> tuple[float, str]:
        """Return how long a prediction has been running, and its servable; 0 where none is."""
        with self._lock:
            now = self._clock()
            started, servable = min(
                ((started, batch.route.servable) for started, batch in self._running.values()),
                default=(now, ""),
            )
            return now - started, servable
