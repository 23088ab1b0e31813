"""Stage: a batch becomes outputs, under one handle, hence by one version.

A failing call is halved until the record at fault is alone, so one bad row never fails its batch.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from topicserve.servables.errors import (
    InvalidArgumentError,
    NotFoundError,
    RowCountError,
    ServableError,
    error_text,
    status_code,
)
from topicserve.servables.servable import Servable, Signature
from topicserve.servables.swap_guard import SwapGuard
from topicserve.wire.dead_letter import Reason
from topicserve.worker.batch_sizer import BatchSizer
from topicserve.worker.company_check import Company, CompanyCheck, NotAsAloneError
from topicserve.worker.config import BatchingConfig
from topicserve.worker.feeds import Feed, build_feeds
from topicserve.worker.handles import Handle, Servables
from topicserve.worker.lone_answers import Difference
from topicserve.worker.metrics import WorkerMetrics
from topicserve.worker.request import Batch, Predicted, Rejection, Request, Route
from topicserve.worker.routing import unknown_servable
from topicserve.worker.version_choice import VersionChoice, request_of


class NotNowError(Exception):
    """The batch cannot be predicted now, through no fault of its records: try again later."""


class DeadlineError(Exception):
    """The record's deadline passed before its turn came."""


class UnknownSignatureError(Exception):
    """The servable has no signature of that name."""


class PredictError(Exception):
    """The servable failed on this record alone."""


class Predictor:
    """Predicts batches. Any number of threads may call it at once."""

    def __init__(
        self,
        servables: Servables,
        config: BatchingConfig,
        unknown_version_seconds: float,
        sizer: BatchSizer,
        metrics: WorkerMetrics,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        guard: SwapGuard | None = None,
        check_batches: int = 0,
    ) -> None:
        self._servables = servables
        self._choice = VersionChoice(servables, guard, metrics)
        self._allowed_sizes = config.allowed_batch_sizes
        self._unknown_version_seconds = unknown_version_seconds
        self._sizer = sizer
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._company = CompanyCheck(check_batches, metrics)

    def predict(self, batch: Batch) -> Predicted:
        """Return what became of each request, or raise NotNowError for the batch as a whole."""
        requests, expired = self._without_expired(batch.requests)
        if not requests:
            return Predicted(batch.route.servable, 0, batch.route.signature_name, [], expired)
        try:
            handle, is_default = self._choice.open(batch.route)
        except (NotFoundError, InvalidArgumentError) as error:
            return self._without_version(batch, requests, expired, error)
        except ServableError as error:
            raise NotNowError(str(error)) from error
        with handle:
            predicted = self._with_handle(batch, requests, handle)
        if is_default:
            self._choice.answered_by_default(batch.route, predicted, self._predict_with)
        predicted.rejections += expired
        return predicted

    def _feeds(
        self, servable: Servable, name: str, requests: Sequence[Request]
    ) -> tuple[list[Feed], list[Rejection]]:
        """Return what fits the signature, and the requests that do not.

        Asking a servable for its signatures may fail like a prediction: a pipeline's come from the
        servables that it is made of.
        """
        try:
            signature = _signature(servable, name)
        except UnknownSignatureError as error:
            return [], [Rejection(request, Reason.UNKNOWN_SIGNATURE, error) for request in requests]
        # A kind of a user's own may raise anything, SystemExit included: it ends no worker.
        except BaseException as error:
            if isinstance(error, ServableError) and error.retriable:
                raise NotNowError(error_text(error)) from error
            failure = PredictError(error_text(error))
            return [], [Rejection(request, Reason.PREDICT_FAILED, failure) for request in requests]
        return build_feeds(requests, signature)

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
    ) -> Predicted:
        """Wait for a version that may still come; for one that nobody knows, only so long.

        A servable that was removed from the configuration meanwhile is not waited for at all: a
        worker that starts now rejects its records too.
        """
        route, reason = batch.route, Reason.UNKNOWN_VERSION
        problem: Exception = error
        served = self._servables.names()
        if route.servable not in served:
            reason, problem = Reason.UNKNOWN_SERVABLE, unknown_servable(route.servable, served)
        elif self._is_waited_for(route, requests):
            raise NotNowError(str(error)) from error
        rejections = [Rejection(request, reason, problem) for request in requests]
        return Predicted(
            route.servable, route.version or 0, route.signature_name, [], rejections + expired
        )

    def _is_waited_for(self, route: Route, requests: Sequence[Request]) -> bool:
        patient = self._clock() - requests[0].polled_at < self._unknown_version_seconds
        return patient or self._servables.may_become_available(request_of(route))

    def _with_handle(self, batch: Batch, requests: list[Request], handle: Handle) -> Predicted:
        started = self._clock()
        predicted = self._predict_with(requests, handle, batch.route)
        self._sizer.observe(batch.route, batch.rows, self._clock() - started)
        self._metrics.batch_rows.labels(predicted.servable).observe(batch.rows)
        self._metrics.batch_wait_seconds.labels(predicted.servable).observe(batch.waited_seconds)
        return predicted

    def _predict_with(self, requests: Sequence[Request], handle: Handle, route: Route) -> Predicted:
        servable, name = handle.servable, route.signature_name
        predicted = Predicted(route.servable, handle.id.version, name, [], [])
        feeds, predicted.rejections = self._feeds(servable, name, requests)
        started = self._clock()
        for feed in feeds:
            company = self._company.of(servable, handle.id, name, feed.signature)
            self._predict_feed(servable, feed, predicted, company)
        labels = (predicted.servable, str(predicted.version))
        self._metrics.predict_seconds.labels(*labels).observe(self._clock() - started)
        return predicted

    def _predict_feed(
        self, servable: Servable, feed: Feed, predicted: Predicted, company: Company
    ) -> None:
        if not company.is_apart:
            self._predict_joined(servable, feed, self._size(feed), predicted, company)
        elif len(feed.requests) == 1:
            self._predict_joined(servable, feed, feed.rows, predicted, company)
        else:
            self._predict_apart(servable, feed, predicted, company)

    def _predict_apart(
        self, servable: Servable, feed: Feed, predicted: Predicted, company: Company
    ) -> None:
        """Predict each record alone and unpadded."""
        for one in feed.each():
            self._predict_joined(servable, one, one.rows, predicted, company)

    def _predict_joined(
        self, servable: Servable, feed: Feed, size: int, predicted: Predicted, company: Company
    ) -> None:
        is_alone = len(feed.requests) == 1 and size == feed.rows
        try:
            outputs = feed.predict(servable, predicted.signature_name, size)
            answers = feed.answers(outputs, size)
            if not is_alone:
                company.check(servable, feed, answers)
        except NotAsAloneError:
            self._predict_apart(servable, feed, predicted, company)
        except RowCountError as error:
            if is_alone:
                self._reject(feed, predicted, error)
                return
            # In a part of the batch the number of rows could be right by chance.
            self._count_failure(predicted, error)
            company.keep_apart(Difference("", error_text(error)))
            self._predict_apart(servable, feed, predicted, company)
        except ServableError as error:
            if error.retriable:
                raise NotNowError(error_text(error)) from error
            self._split(servable, feed, size, predicted, company, error)
        # A kind of a user's own may raise anything, SystemExit included; it is that record's error
        # all the same. A process is asked to stop by signals, never from here.
        except BaseException as error:
            self._split(servable, feed, size, predicted, company, error)
        else:
            predicted.answers.append(answers)

    def _split(
        self,
        servable: Servable,
        feed: Feed,
        size: int,
        predicted: Predicted,
        company: Company,
        error: BaseException,
    ) -> None:
        """Find the record that a call fails on; where none does alone, the call is at fault."""
        if len(feed.requests) == 1 and (size == feed.rows or not company.is_open):
            self._reject(feed, predicted, error)
            return
        self._count_failure(predicted, error)
        answered, rejected = len(predicted.answers), len(predicted.rejections)
        if len(feed.requests) == 1:
            self._predict_apart(servable, feed, predicted, company)
        else:
            for half in feed.halves():
                self._predict_feed(servable, half, predicted, company)
        if rejected == len(predicted.rejections) and company.fails_only_joined(
            servable, feed, size
        ):
            del predicted.answers[answered:]
            self._predict_apart(servable, feed, predicted, company)

    def _reject(self, feed: Feed, predicted: Predicted, error: BaseException) -> None:
        self._count_failure(predicted, error)
        failure = PredictError(error_text(error))
        predicted.rejections.append(Rejection(feed.requests[0], Reason.PREDICT_FAILED, failure))

    def _count_failure(self, predicted: Predicted, error: BaseException) -> None:
        self._metrics.predict_failures.labels(predicted.servable, status_code(error)).inc()

    def _size(self, feed: Feed) -> int:
        """Return with how many rows to call, padding included."""
        # Padding would go into what is computed from all rows, or into what may be no rows at all.
        return self._padded_rows(feed.rows) if feed.signature.joins_records else feed.rows

    def _padded_rows(self, rows: int) -> int:
        return next((size for size in self._allowed_sizes if size >= rows), rows)


def _signature(servable: Servable, name: str) -> Signature:
    signatures = servable.signatures
    signature: object = signatures.get(name)
    if signature is None:
        known = ", ".join(sorted(signatures))
        raise UnknownSignatureError(f"signature {name!r} is not one of: {known}")
    if not isinstance(signature, Signature):
        raise PredictError(f"signature {name!r} is of type {type(signature).__name__}")
    return signature
