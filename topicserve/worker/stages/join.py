"""Stage: each record's metadata is fetched by its id while the batch is predicted.

The store is asked by id, once for each; what is found belongs to the record: two records of one id
in a batch may declare different things.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendUnavailableError,
)
from topicserve.backends.metadata_store import MetadataStore, PendingMetadata
from topicserve.errors import TopicserveError
from topicserve.wire.dead_letter import Reason
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.worker.config.schema import MetadataConfig, OnMissingMetadata
from topicserve.worker.runtime.retry import RetryLoop
from topicserve.worker.stages.metadata_checks import check_metadata
from topicserve.worker.stages.request import Rejection, Request
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics

# The look at the start found a metadata store: whatever it answers now, a worker that waits loses
# nothing and says so in /readyz, while one that ends takes its records to the next replica. That
# includes a refused password: all replicas would end. New credentials are only read by a new
# process, but the store may take the old ones again.
_WAITED_FOR = (BackendUnavailableError, BackendConfigError, AuthenticationError)
_FOUND = MetadataStatus.FOUND
_ABSENT = Metadata(MetadataStatus.ABSENT)
_MISSING = Metadata(MetadataStatus.MISSING)


class MetadataMissingError(TopicserveError):
    """There is no metadata for the record, and the policy says that there must be."""


class MetadataInvalidError(TopicserveError):
    """What is stored for the record cannot be part of a result."""


@dataclass(slots=True)
class Fetch:
    """Metadata on its way: ids asked for, and the answer where the store took the question."""

    record_ids: list[str]
    pending: PendingMetadata | None
    is_first: bool = False
    """Whether the store was not asked before."""

    def cancel(self) -> None:
        """Give the answer up: the batch is not predicted now."""
        if self.pending is not None:
            self.pending.close()


@dataclass(slots=True)
class MetadataLookup:
    """`metadata[i]` is what was found for request i; the rejected have none there."""

    metadata: list[Metadata]
    rejections: list[Rejection]


class Joiner:
    """Joins metadata, waiting for the store as long as it takes.

    Any number of batch threads call it at once; nothing but `unavailable` is shared. `start` does
    not block. `finish` does while the store is away, until the retry loop is shut down: then
    ShutdownRequestedError asks the thread to end.
    """

    def __init__(
        self,
        store: MetadataStore,
        config: MetadataConfig,
        retry_loop: RetryLoop,
        metrics: WorkerMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._config = config
        self._retry_loop = retry_loop
        self._metrics = metrics
        self._clock = clock
        self.unavailable: str | None = None
        """Why the store does not answer at present, for readiness; one assignment, no lock."""

    def start(self, requests: Sequence[Request], *, defer: bool = False) -> Fetch:
        """Ask for the metadata of these requests; does not wait, and never fails.

        With `defer` the store is not asked before `finish`: for a batch that is not likely to be
        predicted now, since giving up an answer costs a connection.
        """
        inputs = [request.input for request in requests]
        record_ids = list(
            dict.fromkeys([one.record_id for one in inputs if not one.metadata_absent])
        )
        if not record_ids or defer:
            return Fetch(record_ids, None, is_first=defer)
        try:
            return Fetch(record_ids, self._store.request_many(record_ids))
        except _WAITED_FOR:
            return Fetch(record_ids, None)  # `finish` asks again, and waits

    def finish(self, requests: Sequence[Request], fetch: Fetch) -> MetadataLookup:
        """Return each request's metadata; raises ShutdownRequestedError if the worker gives up.

        `fetch` may have asked for more: requests that were not answered are not among these.
        """
        started = self._clock()
        found = self._answer(fetch)
        joined = MetadataLookup([_MISSING] * len(requests), [])
        missing = _join(requests, range(len(requests)), found, joined)
        if missing and self._config.wait_seconds > 0:
            missing = self._wait_for(requests, missing, joined)
        self._metrics.metadata_seconds.observe(self._clock() - started)
        self._count(joined, len(missing))
        if self._config.on_missing is OnMissingMetadata.DEAD_LETTER:
            joined.rejections += [_refused(requests[index]) for index in missing]
        return joined

    def _answer(self, fetch: Fetch) -> dict[str, bytes | None]:
        if not fetch.record_ids:
            return {}
        pending = fetch.pending
        for attempt in self._retry_loop.tries():
            try:
                if pending is None:
                    if attempt or not fetch.is_first:
                        self._metrics.retries.labels("join").inc()
                    pending = self._store.request_many(fetch.record_ids)
                answer = dict(zip(fetch.record_ids, pending.result(), strict=True))
            except _WAITED_FOR as error:
                pending = None
                if attempt:  # a connection that had gone stale is no outage
                    self._note_outage(str(error))
            else:
                self._note_outage(None)
                return answer
        raise AssertionError("tries() ends by raising")

    def _note_outage(self, problem: str | None) -> None:
        """Say once that the store is away, and once that it is back."""
        before, self.unavailable = self.unavailable, problem
        if problem is not None and before is None:
            log_event("metadata_store_unavailable", logging.WARNING, problem=problem)
        elif problem is None and before is not None:
            log_event("metadata_store_recovered")

    def _wait_for(
        self, requests: Sequence[Request], missing: list[int], joined: MetadataLookup
    ) -> list[int]:
        """Look again until each request has waited its time since it was polled."""
        for _ in self._retry_loop.tries():
            limit = self._clock() - self._config.wait_seconds
            waiting = [index for index in missing if requests[index].polled_at > limit]
            if not waiting:
                break
            record_ids = dict.fromkeys(requests[index].input.record_id for index in waiting)
            found = self._answer(Fetch(list(record_ids), None))
            missing = [index for index in missing if requests[index].polled_at <= limit]
            missing += _join(requests, waiting, found, joined)
        return missing

    def _count(self, joined: MetadataLookup, missing: int) -> None:
        statuses = [metadata.status for metadata in joined.metadata]
        for status, count in (
            ("found", statuses.count(MetadataStatus.FOUND)),
            ("missing", missing),
            ("absent", statuses.count(MetadataStatus.ABSENT)),
            ("invalid", len(joined.rejections)),
        ):
            if count:
                self._metrics.metadata_lookups.labels(status).inc(count)


def _refused(request: Request) -> Rejection:
    error = MetadataMissingError(f"no metadata is stored for record id {request.input.record_id}")
    return Rejection(request, Reason.METADATA_MISSING, error)


def _join(
    requests: Sequence[Request],
    indexes: Iterable[int],
    found: Mapping[str, bytes | None],
    joined: MetadataLookup,
) -> list[int]:
    """Note what was found for these requests; return those for which there was nothing."""
    missing = []
    metadata = joined.metadata
    for index in indexes:
        record = requests[index].input
        if record.metadata_absent:
            metadata[index] = _ABSENT
            continue
        content = found.get(record.record_id)
        if content is None:
            missing.append(index)
            continue
        try:
            check_metadata(content, record.limits)
        # Whatever a store answers, the fault is this record's own and touches no other.
        except Exception as error:
            invalid = MetadataInvalidError(str(error))
            refused = Rejection(requests[index], Reason.METADATA_INVALID, invalid)
            joined.rejections.append(refused)
        else:
            metadata[index] = Metadata(_FOUND, content)
    return missing
