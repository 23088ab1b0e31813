"""Stores results that are too large for their topic; their records say where they lie."""

import hashlib
import logging
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from msgspec.structs import replace

from topicserve.backends.references.allow_list import Location, read_prefix
from topicserve.backends.references.header import reference_headers
from topicserve.backends.references.writing import write_body
from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import error_text
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.request import Polled, Request
from topicserve.worker.telemetry.logging import log_event

# Ids that are a file's name on any system; others are named by their hash.
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class NotStoredError(TopicserveError):
    """A result that is too large could not be stored for too long."""


class LargeResults:
    """Writes results under the prefix of `dataref.results`. Any thread may call it.

    While the store does not answer its callers wait, for `dataref.wait_seconds` from its first
    failure on; after that each result is tried once, until the store answers again.
    """

    def __init__(self, environment: Environment) -> None:
        config = environment.config
        self._prefix = read_prefix(config.dataref.results)
        self._wait_seconds = config.dataref.wait_seconds
        self._topic = config.topics.output
        self._metrics = environment.metrics
        self._retry_loop = environment.retry_loop
        self._clock = environment.clock
        self._lock = threading.Lock()
        self._failing_since: float | None = None
        self.unavailable: str | None = None
        """Why the store does not answer at present, for readiness; one assignment, no lock."""
        self.write = write_body
        """Replaced in tests."""
        self.observe: Callable[[int], AbstractContextManager[object]] = lambda _: nullcontext()
        """Entered around each try, with the size."""

    def stored(self, polled: Polled, version: int, result: OutgoingRecord) -> OutgoingRecord:
        """Store a result's body, and return the record that refers to it.

        Blocks until it is stored. Raises NotStoredError, or ShutdownRequestedError once the worker
        gives up.
        """
        body = result.value or b""
        digest = hashlib.sha256(body).hexdigest()
        location = self._location(polled, version, digest)
        for attempt in self._retry_loop.tries():
            if attempt:
                self._metrics.retries.labels("store").inc()
            started = self._clock()
            try:
                with self.observe(len(body)), self._metrics.result_store_seconds.time():
                    self.write(location, body)
            # Each file system raises what its client does; the result is as good as before.
            except Exception as error:
                problem = str(error) if isinstance(error, TopicserveError) else error_text(error)
                if self._has_failed(started, problem):
                    message = f"the result is too large, and was not stored: {problem}"
                    raise NotStoredError(message) from None
            else:
                break
        self._note_stored(len(body))
        headers = [*reference_headers(location.escaped_url, digest), *result.headers]
        # Empty, not null: a topic that is compacted would take a null for a deletion.
        return replace(result, value=b"", headers=headers)

    def _location(self, polled: Polled, version: int, digest: str) -> Location:
        """Return where a result is stored: under a name that no other content ever has.

        A record that is answered again in the same way is stored under the same name.
        """
        found = polled.input.record_id if isinstance(polled, Request) else ""
        if not _PLAIN_ID.fullmatch(found):
            found = "~" + hashlib.sha256(found.encode()).hexdigest()
        return self._prefix.below(self._topic, f"{found}-{version}-{digest}")

    def _has_failed(self, started: float, problem: str) -> bool:
        """Note a failure; return whether the store has failed for so long that none waits."""
        now = self._clock()
        with self._lock:
            is_first = self._failing_since is None
            if self._failing_since is None:
                self._failing_since = started
            has_failed = now - self._failing_since >= self._wait_seconds
            self.unavailable = f"{self._prefix.url}: {problem}"
        if is_first:
            log_event(
                "body_store_unavailable", logging.WARNING, store=self._prefix.url, problem=problem
            )
        return has_failed

    def _note_stored(self, size_bytes: int) -> None:
        self._metrics.stored_results.inc()
        self._metrics.stored_result_bytes.inc(size_bytes)
        with self._lock:
            was_failing, self._failing_since = self._failing_since is not None, None
            self.unavailable = None
        if was_failing:
            log_event("body_store_recovered", store=self._prefix.url)
