"""What both clients do for a request: publish its record, and find the answer."""

import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

from msgspec.structs import replace
from numpy.typing import ArrayLike

from topicserve.backends.errors import BackendUnavailableError
from topicserve.producer.client.listener import Progress, ResultListener
from topicserve.producer.client.requests import PendingRequests
from topicserve.producer.encoder import EncodedRecord, RecordEncoder
from topicserve.producer.errors import PredictTimeoutError, PublishError
from topicserve.producer.in_progress.backlog import Entry
from topicserve.producer.publisher import Publisher
from topicserve.producer.record import Record, StoredElsewhere
from topicserve.wire import header_names as names
from topicserve.wire.result import Result

CLOSE_SECONDS = 5.0


class RecordFields(TypedDict, total=False):
    """What a request may say besides its inputs: the fields of Record, which see."""

    instance: Any
    instances: Sequence[Any]
    tensors: Mapping[str, ArrayLike]
    body: bytes | str | None
    content_type: str | None
    dataref: str | None
    dataref_sha256: str | None
    metadata: Mapping[str, Any] | StoredElsewhere | None
    record_id: str | UUID | None
    key: str | bytes | None
    servable: str | None
    version: int | None
    label: str | None
    signature_name: str | None
    deadline: datetime | None
    traceparent: str | None
    tracestate: str | None


class PendingRequest(NamedTuple):
    """A record on its way to a result."""

    record_id: str
    future: Future[Result]
    entry: Entry


class ClientCore:
    """Requests in flight, what publishes their records, and what reads their results.

    No method waits, except where it says so. Any thread may call them.
    """

    def __init__(
        self,
        encoder: RecordEncoder,
        publisher: Publisher,
        listener: ResultListener,
        requests: PendingRequests,
        *,
        has_dead_letters: bool,
    ) -> None:
        self.listener = listener
        self.requests = requests
        self.publisher = publisher
        self._encoder = encoder
        self._has_dead_letters = has_dead_letters
        self._client = os.urandom(8).hex()
        self._calls = itertools.count()  # `next` is atomic

    def record(self, inputs: Any, fields: RecordFields, timeout_seconds: float) -> Record:
        """Return a request's record: no worker predicts it once its caller has given up."""
        deadline = datetime.now(UTC) + timedelta(seconds=timeout_seconds)
        return Record(inputs=inputs, **({"deadline": deadline} | fields))

    def encode(self, record: Record) -> EncodedRecord:
        """Return it encoded; raises InvalidRecordError. Takes time with the size of the record."""
        return self.publisher.check(self._encoder.encode(record))

    def open(self, encoded: EncodedRecord) -> PendingRequest:
        """Take a request, whose entry is to be given to the publisher next."""
        record_id = encoded.record_id
        call = f"{self._client}-{next(self._calls)}".encode()
        future = self.requests.open(record_id, call)
        sent = encoded.outgoing
        sent = replace(sent, headers=[*sent.headers, (names.REQUEST, call)])
        entry = self.publisher.entry(encoded._replace(outgoing=sent))
        entry.future.add_done_callback(partial(self._note_failure, record_id, future))
        return PendingRequest(record_id, future, entry)

    def drop(self, request: PendingRequest) -> None:
        """Wait for this request no longer; what is not on its way yet is not published."""
        self.requests.drop(request.record_id, request.future)
        request.entry.future.cancel()

    def no_place(self, timeout_seconds: float) -> PredictTimeoutError:
        """Return what to say of a request that had no turn in time."""
        return PredictTimeoutError(
            f"not published: {len(self.requests)} requests were waiting for their results for "
            f"{timeout_seconds:g} s, which is as many as may (max_pending_requests)"
        )

    def timed_out(
        self, request: PendingRequest | None, timeout_seconds: float
    ) -> PredictTimeoutError:
        """Return what to say of a request that had its turn, and got no answer in time."""
        progress = self.listener.progress()
        problem = f" ({progress.problem})" if progress.problem else ""
        if request is None:
            reason = progress.problem or "no broker answered"
            return PredictTimeoutError(
                f"not published: results could not be read within {timeout_seconds:g} s: {reason}"
            )
        if body := self.requests.fetch_progress(request.future):
            return PredictTimeoutError(
                f"the result of record {request.record_id} has come, and its body was not read "
                f"within {timeout_seconds:g} s: it {body}"
            )
        published = request.entry.future
        if not published.done() or published.cancelled() or published.exception(0):
            if store_problem := self.publisher.store_problem:
                return PredictTimeoutError(
                    f"record {request.record_id} was not published within {timeout_seconds:g} s: "
                    f"its metadata could not be stored: {store_problem}"
                )
            return PredictTimeoutError(
                f"the broker did not acknowledge record {request.record_id} within "
                f"{timeout_seconds:g} s{problem}"
            )
        place = published.result(0)
        return PredictTimeoutError(
            f"no result within {timeout_seconds:g} s for record {request.record_id}, which is at "
            f"{place.topic}-{place.partition} offset {place.offset}; {self._why(progress)}{problem}"
        )

    def _why(self, progress: Progress) -> str:
        if progress.lag_records:
            return f"the reader of results is {progress.lag_records:,} records behind"
        if self._has_dead_letters:
            return "the reader of results is not behind; is a worker reading the topic?"
        return "it may be a dead letter, of which no dead_letter_topic is given to tell"

    def not_ready(self, timeout_seconds: float) -> PredictTimeoutError:
        """Return what to say where results could not be read in time."""
        problem = self.listener.progress().problem or "no broker answered"
        return PredictTimeoutError(f"not connected within {timeout_seconds:g} s: {problem}")

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Fail the requests that wait, and close the connections; waits as long as that takes.

        A store that is away is not waited for: no one waits for those records any more.
        """
        closed = BackendUnavailableError("the client was closed before the result came")
        self.requests.fail_all(closed)
        self.listener.close()
        self.requests.close(closed)
        with suppress(PublishError):  # each request has raised its own
            self.publisher.close(timeout_seconds, wait_for_store=False)

    def _note_failure(self, record_id: str, future: Future[Result], done: Future[Any]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self.requests.fail(record_id, future, error)
