"""A second version predicts a share of the records, off their path; differences are published.

What does not fit into the queue is dropped and counted: a shadow never holds a record up. Records
that the shadow's own version answered are not compared.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from topicserve.backends.broker import Producer
from topicserve.backends.errors import BackendError
from topicserve.servables.core.errors import (
    InvalidArgumentError,
    NotFoundError,
    ServableError,
    error_text,
)
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.servable import Servable
from topicserve.wire import header_names as names
from topicserve.wire.json_codec.body import WHOLE_FORMS, Form
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.wire.result_encoder import Origin, encode_results
from topicserve.worker.config.served import ServedConfig, ShadowConfig
from topicserve.worker.stages.calls.feeds import Feed, build_feeds
from topicserve.worker.stages.handles import Servables
from topicserve.worker.stages.request import BatchPrediction, CallOutput, Request
from topicserve.worker.stages.routing import share_of
from topicserve.worker.stages.version_choice import Availability
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics

MAX_WAITING_BATCHES = 16
# Two versions of one network differ in the last digits wherever they were compiled differently.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-7
_NO_METADATA = Metadata(MetadataStatus.ABSENT)

Outputs = Mapping[str, NDArray[Any]]


class _Task(NamedTuple):
    """What the first version answered; copies of its own."""

    shadow: ShadowConfig
    origin: Origin
    answers: CallOutput


class Shadow:
    """Compares versions on a thread of its own."""

    def __init__(
        self,
        served: Iterable[ServedConfig],
        servables: Servables,
        producer: Producer,
        topic: str,
        worker_id: str,
        metrics: WorkerMetrics,
    ) -> None:
        self._shadows = {entry.name: entry.shadow for entry in served if entry.shadow is not None}
        self._servables = servables
        self._producer = producer
        self._topic = topic
        self._worker_id = worker_id
        self._metrics = metrics
        self._availability = Availability("shadow")
        self._waiting: queue.Queue[_Task | None] = queue.Queue(MAX_WAITING_BATCHES)
        self._thread = threading.Thread(target=self._run, name="topicserve-shadow", daemon=True)

    def start(self) -> None:
        """Start comparing."""
        self._thread.start()

    def offer(self, predicted: BatchPrediction) -> None:
        """Have a batch's share compared later. Any thread may call it; never waits."""
        shadow = self._shadows.get(predicted.servable)
        if shadow is None:
            return
        for answers in predicted.answers:
            version = predicted.version_of(answers)
            origin = Origin(predicted.servable, version, predicted.signature_name, self._worker_id)
            chosen = _share(answers, shadow.share)
            if not chosen.requests:
                continue
            try:
                self._waiting.put_nowait(_Task(shadow, origin, chosen))
            except queue.Full:
                self._count(predicted.servable, "dropped", len(chosen.requests))

    @property
    def is_running(self) -> bool:
        """Return whether it may be in a call of its version."""
        return self._thread.is_alive()

    def close(self, timeout_seconds: float) -> None:
        """Finish what waits within the time given; what has not begun by then is dropped.

        A comparison that goes on is left: its thread is a daemon, and what it holds are copies.
        """
        until = time.monotonic() + timeout_seconds
        with suppress(queue.Full):
            self._waiting.put(None, timeout=timeout_seconds)
        self._thread.join(max(until - time.monotonic(), 0.0))
        if self.is_running:
            self._drop_waiting()

    def _drop_waiting(self) -> None:
        with suppress(queue.Empty):
            while True:
                task = self._waiting.get_nowait()
                if task is not None:
                    self._count(task.origin.servable, "dropped", len(task.answers.requests))
        with suppress(queue.Full):  # a batch may be offered still
            self._waiting.put_nowait(None)

    def _run(self) -> None:
        while (task := self._waiting.get()) is not None:
            try:
                self._compare(task)
            # Whatever the second version raises, SystemExit included, the records are answered.
            except BaseException as error:
                self._count(task.origin.servable, "failed", len(task.answers.requests))
                _log_failure(task.origin.servable, error)

    def _compare(self, task: _Task) -> None:
        shadow, name = task.shadow, task.origin.servable
        request = ServableRequest(name, shadow.version, shadow.label)
        try:
            opened = self._servables.get_servable_handle(request)
        except (NotFoundError, InvalidArgumentError) as error:
            self._availability.missing(name, str(error))
            self._count(name, "unavailable", len(task.answers.requests))
            return
        self._availability.found(name)
        with opened as handle:
            if handle.id.version == task.origin.version:
                self._count(name, "same_version", len(task.answers.requests))
                return
            origin = task.origin.of_version(handle.id.version)
            signature = handle.servable.signatures.get(origin.signature_name)
            if signature is None:
                raise ServableError(f"the shadow has no signature {origin.signature_name!r}")
            feeds, rejections = build_feeds(task.answers.requests, signature)
            self._count(name, "failed", len(rejections))
            said = [self._predict(handle.servable, feed, origin) for feed in feeds]
        first = {id(own.requests[0]): own for own in task.answers.each()}
        for answers in said:
            self._publish_differences(task.origin, origin, first, answers)

    def _predict(self, servable: Servable, feed: Feed, origin: Origin) -> CallOutput:
        """Return what the shadow says; where it fails, that fails these records alone."""
        try:
            outputs = feed.predict(servable, origin.signature_name, feed.rows)
            return feed.answers(outputs, feed.rows)
        # Whatever the second version raises, SystemExit included, the records are answered.
        except BaseException as error:
            self._count(origin.servable, "failed", len(feed.requests))
            _log_failure(origin.servable, error)
            return CallOutput([], {})

    def _publish_differences(
        self, primary: Origin, shadow: Origin, first: Mapping[int, CallOutput], answers: CallOutput
    ) -> None:
        pairs = [(first[id(own.requests[0])], own) for own in answers.each()]
        different = [pair for pair in pairs if not _equal(pair[0].outputs, pair[1].outputs)]
        self._count(primary.servable, "equal", len(pairs) - len(different))
        self._count(primary.servable, "different", len(different))
        if not different:
            return
        records = [self._difference(primary, one, shadow, other) for one, other in different]
        try:
            self._producer.send(records, _log_failures)
        except BackendError as error:
            log_event("shadow_not_published", records=len(records), problem=str(error))

    def _difference(
        self, primary: Origin, first: CallOutput, shadow: Origin, second: CallOutput
    ) -> OutgoingRecord:
        """Return both results side by side: `{"id", "primary": result, "shadow": result}`."""
        bodies = [_json_result(origin, own) for origin, own in ((primary, first), (shadow, second))]
        (request,) = first.requests
        record_id = request.input.record_id.encode()
        shown = orjson.dumps(request.input.record_id)
        body = b'{"id":%b,"primary":%b,"shadow":%b}' % (shown, *bodies)
        headers: list[tuple[str, bytes | None]] = [
            (names.SPECVERSION, names.SPECVERSION_VALUE.encode()),
            (names.TYPE, names.SHADOW_TYPE.encode()),
            (names.SOURCE, b"/topicserve"),
            (names.ID, record_id),
            (names.CONTENT_TYPE, names.JSON_CONTENT_TYPE.encode()),
            (names.SERVABLE, primary.servable.encode()),
            (names.SERVABLE_VERSION, b"%d" % shadow.version),
        ]
        return OutgoingRecord(self._topic, request.record.key, body, headers)

    def _count(self, servable: str, outcome: str, count: int) -> None:
        if count:
            self._metrics.shadow_comparisons.labels(servable, outcome).inc(count)


def _share(answers: CallOutput, share: float) -> CallOutput:
    """Return what the records were answered that the share takes."""
    requests: list[Request] = []
    counts: list[int] = []
    rows: list[int] = []
    start = 0
    for request, count in zip(answers.requests, answers.counts or repeat(1), strict=False):
        if share_of(request.input.record_id) < share:
            requests.append(request)
            counts.append(count)
            rows.extend(range(start, start + count))
        start += count
    outputs = {
        name: column if name in answers.whole else column[np.array(rows, np.intp)]
        for name, column in answers.outputs.items()
    }
    return CallOutput(requests, outputs, counts, answers.whole, answers.version)


def _equal(first: Outputs, second: Outputs) -> bool:
    return first.keys() == second.keys() and all(
        _equal_columns(column, second[name]) for name, column in first.items()
    )


def _equal_columns(first: NDArray[Any], second: NDArray[Any]) -> bool:
    if first.shape != second.shape:
        return False
    if first.dtype.kind in "fc" and second.dtype.kind in "fc":
        tolerances = {"rtol": RELATIVE_TOLERANCE, "atol": ABSOLUTE_TOLERANCE}
        return bool(np.allclose(first, second, equal_nan=True, **tolerances))
    return bool(np.array_equal(first, second))


def _json_result(origin: Origin, own: CallOutput) -> bytes:
    """Return one result's JSON, also for a record that came in another form."""
    (request,) = own.requests
    asked = request.input
    if asked.form in WHOLE_FORMS:
        asked = msgspec.structs.replace(asked, form=Form.INPUTS)
    outputs = {name: _in_pairs(column) for name, column in own.outputs.items()}
    (result,) = encode_results(
        "", origin, [asked], [None], outputs, [_NO_METADATA], own.counts, own.whole
    )
    return result.value or b"null"


def _in_pairs(column: NDArray[Any]) -> NDArray[Any]:
    """Return complex numbers as [real, imaginary]; JSON has none."""
    return np.stack([column.real, column.imag], -1) if column.dtype.kind == "c" else column


def _log_failure(servable: str, error: BaseException) -> None:
    log_event(
        "shadow_failed",
        logging.WARNING,
        servable=servable,
        problem=error_text(error),
        # A servable's answer needs none.
        traceback_of=None if isinstance(error, ServableError) else error,
    )


def _log_failures(errors: Sequence[BackendError | None]) -> None:
    failed = [error for error in errors if error is not None]
    if failed:
        log_event("shadow_not_published", records=len(failed), problem=str(failed[0]))
