"""The calls of one servable that a batch is predicted by.

A failing call is halved until the record at fault is alone, so one bad row never fails its batch.
"""

import logging
from collections.abc import Callable, Sequence

from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import RowCountError, ServableError, error_text, status_code
from topicserve.servables.kinds.servable import Servable, Signature
from topicserve.wire.dead_letter import Reason
from topicserve.worker.stages.calls.company_check import Company, CompanyCheck, NotAsAloneError
from topicserve.worker.stages.calls.costs import affordable, costs_of
from topicserve.worker.stages.calls.feeds import Feed, build_feeds
from topicserve.worker.stages.calls.second_tries import SecondTries, SecondTry
from topicserve.worker.stages.calls.shared_call import Difference
from topicserve.worker.stages.calls.untold_outputs import with_whole_outputs
from topicserve.worker.stages.handles import Handle
from topicserve.worker.stages.request import (
    BatchPrediction,
    Evidence,
    Rejection,
    Request,
    Route,
    Trial,
)
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics


class ServableUnavailableError(TopicserveError):
    """The batch cannot be predicted now, through no fault of its records: try again later."""

    is_loaded = False
    """Whether a version is loaded, which does not answer."""


class ServableNotAnsweringError(ServableUnavailableError):
    """A version is loaded and does not answer now: a remote server is away, for example."""

    is_loaded = True


class UnknownSignatureError(TopicserveError):
    """The servable has no signature of that name."""


class PredictError(TopicserveError):
    """The servable failed on this record alone."""


class Calls:
    """Calls servables. Any number of threads may call it at once."""

    def __init__(
        self,
        allowed_sizes: Sequence[int],
        check_batches: int,
        metrics: WorkerMetrics,
        clock: Callable[[], float],
        tries: SecondTries | None,
    ) -> None:
        self._allowed_sizes = allowed_sizes
        self._metrics = metrics
        self._clock = clock
        self._company = CompanyCheck(check_batches, metrics)
        self._tries = SecondTries() if tries is None else tries

    def predict(
        self,
        requests: Sequence[Request],
        servable: Servable,
        handle: Handle,
        route: Route,
        trials: frozenset[Trial],
        *,
        may_leave: bool = False,
    ) -> BatchPrediction:
        """Return what became of each request, or raise ServableUnavailableError.

        `servable` is the handle's, or that with its steps held; `trials` are the versions on
        probation that take part. Where the caller `may_leave` some, requests may be left that are
        too much for one batch, or that the servable did not answer after it answered others.
        """
        name = route.signature_name
        evidence = Evidence(trials, canary=Trial(*handle.id) if route.is_canary else None)
        predicted = BatchPrediction(route.servable, handle.id.version, name, [], [])
        alone = self._tries.of(requests) if self._tries else {}
        shared = [one for one in requests if id(one) not in alone] if alone else requests
        given, started = requests, self._clock()
        if shared:
            feeds, predicted.rejections = self._feeds(servable, name, shared)
            costs = costs_of(servable, handle.id, name, feeds) if may_leave else None
            if costs is not None:
                found = affordable(requests, costs, feeds)
                predicted.cost, predicted.first_left = found.cost, found.first_left
                if len(found.requests) < len(requests):
                    requests = found.requests
                    shared = [one for one in requests if id(one) not in alone]
                    feeds, predicted.rejections = (
                        self._feeds(servable, name, shared) if shared else ([], [])
                    )
                    predicted.rejections += found.refused
            try:
                for feed in feeds:
                    company = self._company.of(handle.servable, handle.id, name, feed.signature)
                    self._predict_feed(servable, feed, predicted, company)
            except ServableUnavailableError:
                if alone or not may_leave or not predicted.keep_first(given):
                    raise
        for request in requests if alone else ():
            if id(request) in alone:
                self._try_again(servable, request, alone[id(request)], predicted, handle, evidence)
        labels = (predicted.servable, str(predicted.version))
        self._metrics.predict_seconds.labels(*labels).observe(self._clock() - started)
        if evidence.replaceable:
            for answers in predicted.answers:
                answers.evidence = evidence
        return predicted

    def _try_again(
        self,
        servable: Servable,
        request: Request,
        second: SecondTry,
        predicted: BatchPrediction,
        handle: Handle,
        evidence: Evidence,
    ) -> None:
        """Predict a record alone, unless what these versions answered to it was refused before."""
        refusal = second.refused.get(evidence.replaceable)
        if refusal is not None:
            predicted.rejections.append(Rejection(request, *refusal))
            return
        feeds, rejections = self._feeds(servable, predicted.signature_name, [request])
        predicted.rejections += rejections
        for feed in feeds:
            company = self._company.of(
                handle.servable, handle.id, predicted.signature_name, feed.signature
            )
            self._predict_joined(servable, feed, feed.rows, predicted, company)

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
                raise ServableNotAnsweringError(error_text(error)) from error
            failure = PredictError(error_text(error))
            return [], [Rejection(request, Reason.PREDICT_FAILED, failure) for request in requests]
        return build_feeds(requests, signature)

    def _predict_feed(
        self, servable: Servable, feed: Feed, predicted: BatchPrediction, company: Company
    ) -> None:
        if not company.is_apart:
            self._predict_joined(servable, feed, self._size(feed), predicted, company)
        elif len(feed.requests) == 1:
            self._predict_joined(servable, feed, feed.rows, predicted, company)
        else:
            self._predict_apart(servable, feed, predicted, company)

    def _predict_apart(
        self, servable: Servable, feed: Feed, predicted: BatchPrediction, company: Company
    ) -> None:
        """Predict each record alone and unpadded."""
        for one in feed.each():
            self._predict_joined(servable, one, one.rows, predicted, company)

    def _predict_joined(
        self,
        servable: Servable,
        feed: Feed,
        size: int,
        predicted: BatchPrediction,
        company: Company,
    ) -> None:
        is_alone = len(feed.requests) == 1 and size == feed.rows
        try:
            outputs = feed.predict(servable, predicted.signature_name, size)
            answers = feed.answers(outputs, size)
            if not is_alone:
                company.check(servable, feed, size, answers)
            elif feed.signature.has_untold_outputs and company.looks_at_rows:
                name = predicted.signature_name
                answers = with_whole_outputs(servable, name, feed, answers)
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
                raise ServableNotAnsweringError(error_text(error)) from error
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
        predicted: BatchPrediction,
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

    def _reject(self, feed: Feed, predicted: BatchPrediction, error: BaseException) -> None:
        self._count_failure(predicted, error)
        if not isinstance(error, ServableError):
            log_event(
                "predict_raised",
                logging.ERROR,
                servable=predicted.servable,
                version=predicted.version,
                signature=predicted.signature_name,
                traceback_of=error,
            )
        failure = PredictError(error_text(error))
        predicted.rejections.append(Rejection(feed.requests[0], Reason.PREDICT_FAILED, failure))

    def _count_failure(self, predicted: BatchPrediction, error: BaseException) -> None:
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
