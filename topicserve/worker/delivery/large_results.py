"""Stores results that are too large for their topic; their records say where they lie."""

import hashlib
import logging
import math
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from msgspec.structs import replace

from topicserve.backends.references.allow_list import Location, read_prefix
from topicserve.backends.references.errors import StoreRefusedError
from topicserve.backends.references.header import reference_headers
from topicserve.backends.references.writing import write_body
from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import error_text
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.worker.delivery.store_calls import StoreCalls
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.runtime.retry import FIRST_PAUSE_SECONDS, ShutdownRequestedError
from topicserve.worker.stages.request import Polled, Request
from topicserve.worker.telemetry.logging import log_event

# Ids that are a file's name on any system; others are named by their hash.
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

# A right that was just given, or a directory that another process removes, passes with a moment.
MAX_REFUSALS = 3


Refusal = Callable[[OutgoingRecord], Exception | None]
"""Returns why a topic would refuse a record; None for one that it takes, as far as is known."""


def _no_refusal(_: OutgoingRecord) -> None:
    return None


class NotStoredError(TopicserveError):
    """A result that is too large could not be stored for too long, or it would be of no use."""


class LargeResults:
    """Writes results under the prefix of `dataref.results`. Any thread may call it.

    While the store does not answer its callers wait, for `dataref.wait_seconds` from its first
    failure on; after that each result is tried once, until the store answers again. A store that
    refuses is not away: a result is tried a few times, and once where it refused the one before.
    """

    def __init__(self, environment: Environment) -> None:
        config = environment.config
        self._prefix = read_prefix(config.dataref.results)
        self._wait_seconds = config.dataref.wait_seconds
        self._timeout_seconds = config.dataref.timeout_seconds
        self._topic = config.topics.output
        self._metrics = environment.metrics
        self._retry_loop = environment.retry_loop
        self._clock = environment.clock
        self._lock = threading.Lock()
        self._failing_since: float | None = None
        self._stored_at = -math.inf
        self._is_refusing = False
        self.unavailable: str | None = None
        """Why the store does not answer at present, for readiness; one assignment, no lock."""
        self.calls = StoreCalls(environment.retry_loop, environment.clock)
        self.write = write_body
        """Replaced in tests."""
        self.observe: Callable[[int], AbstractContextManager[object]] = lambda _: nullcontext()
        """Entered around each try, with the size."""

    def stored(
        self, polled: Polled, version: int, result: OutgoingRecord, refusal: Refusal = _no_refusal
    ) -> OutgoingRecord:
        """Store a result's body, and return the record that refers to it.

        Blocks until it is stored. Raises NotStoredError, without storing anything where `refusal`
        tells that the topic would not take the reference either, and ShutdownRequestedError once
        the worker gives up.
        """
        body = result.value or b""
        digest = hashlib.sha256(body).hexdigest()
        location = self._location(polled, version, digest)
        headers = [*reference_headers(location.escaped_url, digest), *result.headers]
        # Empty, not null: a topic that is compacted would take a null for a deletion.
        stored = replace(result, value=b"", headers=headers)
        if (problem := refusal(stored)) is not None:
            raise NotStoredError(f"key and headers are too large without the value: {problem}")
        self._write(location, body)
        self._note_stored(len(body))
        return stored

    def close(self) -> None:
        """Store nothing more."""
        self.calls.close()

    def _write(self, location: Location, body: bytes) -> None:
        """Write a body, with as many tries as there is use and time for."""
        failures = refusals = 0
        while True:
            started = self._clock()
            left = self._left_seconds(started)
            # Each result has one whole try, however long its store has been away.
            seconds = max(left, FIRST_PAUSE_SECONDS if failures else self._timeout_seconds)
            try:
                with self.observe(len(body)), self._metrics.result_store_seconds.time():
                    self.calls.call(lambda: self.write(location, body), seconds)
            except ShutdownRequestedError:
                raise
            # The result is as good as before, whatever a file system's client raises.
            except Exception as error:
                problem = str(error) if isinstance(error, TopicserveError) else error_text(error)
                failures += 1
                refusals += (is_refusal := isinstance(error, StoreRefusedError))
                pause = self._pause_after(started, failures, refusals if is_refusal else 0, problem)
            else:
                return
            if pause is None:
                message = f"the result is too large, and was not stored: {problem}"
                raise NotStoredError(message)
            self._metrics.retries.labels("store").inc()
            self._retry_loop.pause(pause)

    def _location(self, polled: Polled, version: int, digest: str) -> Location:
        """Return where a result is stored: under a name that no other content ever has.

        A record that is answered again in the same way is stored under the same name.
        """
        found = polled.input.record_id if isinstance(polled, Request) else ""
        if not _PLAIN_ID.fullmatch(found):
            found = "~" + hashlib.sha256(found.encode()).hexdigest()
        return self._prefix.below(self._topic, f"{found}-{version}-{digest}")

    def _left_seconds(self, now: float) -> float:
        """Return for how long a store that does not answer is waited for from now on."""
        since = self._failing_since
        return self._wait_seconds - (0.0 if since is None else now - since)

    def _pause_after(
        self, started: float, failures: int, refusals: int, problem: str
    ) -> float | None:
        """Note a failure; return the pause before the next try, None where there is to be none.

        `refusals` is 0 for a failure that may pass.
        """
        now, backoff = self._clock(), self._retry_loop.backoff
        with self._lock:
            if started < self._stored_at:  # another thread has stored one since: it is over
                return None if refusals >= MAX_REFUSALS else backoff.pause_seconds(failures)
            is_first = self.unavailable is None
            self.unavailable = f"{self._prefix.url}: {problem}"
            pause: float | None
            if refusals:
                self._failing_since = None  # it answers
                self._is_refusing = self._is_refusing or refusals >= MAX_REFUSALS
                pause = None if self._is_refusing else backoff.pause_seconds(refusals)
            else:
                if self._failing_since is None:
                    self._failing_since = started
                pause = backoff.pause_within(failures, self._left_seconds(now))
        if is_first:
            log_event(
                "body_store_unavailable", logging.WARNING, store=self._prefix.url, problem=problem
            )
        return pause

    def _note_stored(self, size_bytes: int) -> None:
        self._metrics.stored_results.inc()
        self._metrics.stored_result_bytes.inc(size_bytes)
        with self._lock:
            was_failing, self.unavailable = self.unavailable is not None, None
            self._failing_since, self._is_refusing = None, False
            self._stored_at = self._clock()
        if was_failing:
            log_event("body_store_recovered", store=self._prefix.url)
