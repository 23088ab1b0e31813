"""The spans of what a transaction sent: they end when it is known whether it counts."""

import threading
import time

from opentelemetry.trace import Link, Span

from topicserve import tracing

TRANSACTION = "topicserve.transaction"
ABORTED, IN_DOUBT = "aborted", "in_doubt"
"""What became of it, where it was not committed. In doubt is one that was aborted after a commit
that no broker answered."""
ABORTED_TYPE = "TransactionAbortedError"


class SentInTransaction:
    """Keeps the spans of acknowledged records until their transaction is over.

    After an abort the records are read and sent again, in other spans, so that these have to say
    which of them counts. Any thread may call it; the members without a lock belong to the thread
    that has the transaction.
    """

    def __init__(self) -> None:
        self.is_in_doubt = False
        """Whether a commit was asked for that no broker answered."""
        self._lock = threading.Lock()
        # Guarded by `_lock`.
        self._acknowledged: list[tuple[Span, int]] = []
        self._is_over = False
        self._aborted = ""

    @property
    def aborted(self) -> str:
        """Return what an abort makes of it."""
        return IN_DOUBT if self.is_in_doubt else ABORTED

    def add(self, span: Span) -> None:
        """Take the span of a record that was acknowledged now."""
        now = time.time_ns()
        with self._lock:
            if not self._is_over:
                self._acknowledged.append((span, now))
                return
        self._end(span, now)

    def links(self) -> list[Link]:
        """Return links to the spans of what was sent, to as many as SDKs keep."""
        with self._lock:
            sent = [span for span, _ in self._acknowledged[: tracing.MAX_LINKS]]
        return [Link(span.get_span_context()) for span in sent]

    def committed(self) -> None:
        """End the spans, each at its acknowledgement."""
        self._finish("")

    def abort(self) -> None:
        """End the spans, marked as those of records that do not count."""
        self._finish(self.aborted)

    def _finish(self, aborted: str) -> None:
        with self._lock:
            acknowledged, self._acknowledged = self._acknowledged, []
            self._is_over, self._aborted = True, aborted
        for span, at in acknowledged:
            self._end(span, at)

    def _end(self, span: Span, at: int) -> None:
        with tracing.harmless(passing=(KeyboardInterrupt,)):
            if self._aborted:
                span.set_attribute(TRANSACTION, self._aborted)
                tracing.fail(span, ABORTED_TYPE, "the transaction was aborted")
            span.end(at)
