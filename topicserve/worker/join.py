"""Stage: each record's metadata is fetched by its id while the batch is predicted."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from topicserve.backends.errors import BackendConfigError, BackendUnavailableError
from topicserve.backends.metadata_store import MetadataStore, PendingMetadata
from topicserve.wire.dead_letter import Reason
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.worker.backoff import Patience
from topicserve.worker.config import MetadataConfig, OnMissingMetadata
from topicserve.worker.logging import log_event
from topicserve.worker.metrics import WorkerMetrics
from topicserve.worker.request import Rejection, Request

# The look at the start found a metadata store: whatever it answers now, a worker that waits loses
# nothing and says so in /readyz, while one that ends takes its records to the next replica. New
# credentials are only read by a new process.
_WAITED_FOR = (BackendUnavailableError, BackendConfigError)
_FOUND = MetadataStatus.FOUND
_ABSENT = Metadata(MetadataStatus.ABSENT)
_MISSING = Metadata(MetadataStatus.MISSING)


class MetadataMissingError(Exception):
    """There is no metadata for the record, and the policy says that there must be."""


class MetadataInvalidError(Exception):
    """What is stored for the record is not a JSON object."""


@dataclass(slots=True)
class Fetch:
    """Metadata on its way: ids asked for, and the answer where the store took the question."""

    record_ids: list[str]
    pending: PendingMetadata | None

    def cancel(self) -> None:
        """Give the answer up: the batch is not predicted now."""
        if self.pending is not None:
            self.pending.close()


@dataclass(slots=True)
class Joined:
    """What was found, by record id, and the requests that the policy or the content refuses."""

    metadata: dict[str, Metadata]
    rejections: list[Rejection]


class Joiner:
    """Joins metadata, waiting for the store as long as it takes. Any thread may call it."""

    def __init__(
        self,
        store: MetadataStore,
        config: MetadataConfig,
        patience: Patience,
        metrics: WorkerMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._config = config
        self._patience = patience
        self._metrics = metrics
        self._clock = clock
        self.unavailable: str | None = None
        """Why the store does not answer at present, for readiness; one assignment, no lock."""

    def start(self, requests: Sequence[Request]) -> Fetch:
        """Ask for the metadata of these requests; does not wait, and never fails."""
        record_ids = [r.input.record_id for r in requests if not r.input.metadata_absent]
        if not record_ids:
            return Fetch(record_ids, None)
        try:
            return Fetch(record_ids, self._store.request_many(record_ids))
        except _WAITED_FOR:
            return Fetch(record_ids, None)  # `finish` asks again, and waits

    def finish(self, requests: Sequence[Request], fetch: Fetch) -> Joined:
        """Return the metadata of the requests; raises AbandonedError if the worker gives up."""
        started = self._clock()
        found = self._answer(fetch)
        joined = Joined({}, [])
        missing = _join(requests, found, joined)
        if missing and self._config.wait_seconds > 0:
            missing = self._wait_for(missing, joined)
        for request in missing:
            self._give_or_refuse(request, joined)
        self._metrics.metadata_seconds.observe(self._clock() - started)
        self._count(joined)
        return joined

    def _answer(self, fetch: Fetch) -> dict[str, bytes | None]:
        if not fetch.record_ids:
            return {}
        pending = fetch.pending
        for attempt in self._patience.tries():
            try:
                if pending is None:
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
            log_event("metadata_waits", logging.WARNING, problem=problem)
        elif problem is None and before is not None:
            log_event("metadata_back")

    def _wait_for(self, missing: list[Request], joined: Joined) -> list[Request]:
        """Look again until each request has waited its time since it was polled."""
        for _ in self._patience.tries():
            limit = self._clock() - self._config.wait_seconds
            waiting = [request for request in missing if request.polled_at > limit]
            if not waiting:
                break
            found = self._answer(Fetch([r.input.record_id for r in waiting], None))
            missing = [request for request in missing if request.polled_at <= limit]
            missing += _join(waiting, found, joined)
        return missing

    def _give_or_refuse(self, request: Request, joined: Joined) -> None:
        if self._config.on_missing is OnMissingMetadata.PUBLISH:
            joined.metadata[request.input.record_id] = _MISSING
            return
        error = MetadataMissingError(
            f"no metadata is stored for record id {request.input.record_id}"
        )
        joined.rejections.append(Rejection(request, Reason.METADATA_MISSING, error))

    def _count(self, joined: Joined) -> None:
        found = [metadata.status for metadata in joined.metadata.values()]
        refused = [rejection.reason for rejection in joined.rejections]
        missing = refused.count(Reason.METADATA_MISSING)
        for status, count in (
            ("found", found.count(MetadataStatus.FOUND)),
            ("missing", found.count(MetadataStatus.MISSING) + missing),
            ("absent", found.count(MetadataStatus.ABSENT)),
            ("invalid", len(refused) - missing),
        ):
            if count:
                self._metrics.metadata_lookups.labels(status).inc(count)


def _join(
    requests: Sequence[Request], found: Mapping[str, bytes | None], joined: Joined
) -> list[Request]:
    """Note what was found; return the requests for which there was nothing."""
    missing = []
    metadata = joined.metadata
    for request in requests:
        record = request.input
        record_id = record.record_id
        if record.metadata_absent:
            metadata[record_id] = _ABSENT
            continue
        content = found.get(record_id)
        if content is None:
            missing.append(request)
            continue
        try:
            # The content goes into the result as it is, so it must not break the JSON around it.
            if type(orjson.loads(content)) is not dict:
                raise MetadataInvalidError("it is something else")
        except (orjson.JSONDecodeError, RecursionError, MetadataInvalidError) as error:
            problem = MetadataInvalidError(f"the metadata stored is not a JSON object: {error}")
            joined.rejections.append(Rejection(request, Reason.METADATA_INVALID, problem))
        else:
            metadata[record_id] = Metadata(_FOUND, content)
    return missing
