"""Whether records that share a call are answered as each is alone, seen on the first batches.

A declared shape says what has rows, but not that no row goes into another one's answer: a layer may
pad to the longest text of the call, or take a mean over it. So some records of the first calls are
predicted alone, too. Where one differs, records of this signature share no call any more. Calls of
equal records are counted apart, since they show little; an output of a shape that was not checked
yet, and one call in RECHECK_CALLS, are checked later, too.
"""

import logging
import threading
import weakref
from collections import OrderedDict

import numpy as np

from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import error_text
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.kinds.predict_checks import ALONE_REMEDY
from topicserve.servables.kinds.servable import Scope, Servable, Signature
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.calls.lone_answers import fails_always, first_difference
from topicserve.worker.stages.calls.shared_call import Difference, SharedCall, UndecidedError
from topicserve.worker.stages.request import CallOutput
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics

MAX_SIGNATURES = 1000
RECHECK_CALLS = 1000
MAX_SHAPES = 64
REMEDY = (
    f"{ALONE_REMEDY}; true vouches for the model; "
    "where a layer pads to the longest text of a call, give it a fixed output_sequence_length"
)


class NotAsAloneError(TopicserveError):
    """A call gave a record another answer than it gets alone: none of its answers is to be used."""


class Company:
    """What is known of one signature of one version. Any number of threads may use it at once."""

    def __init__(
        self, servable_id: ServableId, signature_name: str, batches: int, metrics: WorkerMetrics
    ) -> None:
        self.is_apart = False
        """Whether each record has a call of its own, unpadded."""
        self.looks_at_rows = batches > 0
        """Whether outputs that may have rows or not are looked at by a second call."""
        self._id = servable_id
        self._signature_name = signature_name
        self._batches = batches
        self._metrics = metrics
        self._lock = threading.Lock()
        # Calls of one padded record, and of equal ones, show less than those of several: each are
        # counted alone. And a record may ask for some outputs only, which says nothing of others.
        self._left: dict[tuple[str, str], int] = {}
        self._shapes: dict[str, set[tuple[int, ...]]] = {}
        self._calls = 0

    def check(self, servable: Servable, feed: Feed, size: int, answers: CallOutput) -> None:
        """Raise NotAsAloneError where a record that is predicted alone now is answered otherwise.

        What `feed` gave, it gave joined or padded to `size` rows. Does nothing once enough calls
        were checked.
        """
        if not self._batches:
            return
        try:
            names, company = self._to_check(feed, answers)
            if not names:
                return
            call = SharedCall(servable, self._signature_name, feed, size, answers)
            difference = first_difference(call, names)
            if difference is None:
                self._count(names, company, answers)
                return
        except (UndecidedError, MemoryError):
            return  # a later call is checked in its place
        except Exception as error:
            self._note_own_error(error)
            raise NotAsAloneError from None
        self.keep_apart(difference)
        raise NotAsAloneError

    @property
    def is_open(self) -> bool:
        """Whether calls are still checked."""
        if not self._batches or self.is_apart:
            return False
        with self._lock:
            return not self._left or any(left > 0 for left in self._left.values())

    def fails_only_joined(self, servable: Servable, feed: Feed, size: int) -> bool:
        """Return whether a call that failed fails again, and keep records apart if it does.

        To be asked where all of its records were answered in smaller calls.
        """
        if not self.is_open:
            return False
        problem = fails_always(servable, self._signature_name, feed, size)
        if problem is None:
            return False
        self.keep_apart(Difference("", f"a call fails, none of whose records does: {problem}"))
        return True

    def keep_apart(self, difference: Difference) -> None:
        """Have each record of this signature predicted alone from now on."""
        with self._lock:
            if self.is_apart:
                return
            self.is_apart = True
        self._metrics.unjoined_signatures.labels(self._id.name).inc()
        log_event(
            "records_kept_apart",
            logging.WARNING,
            servable=self._id.name,
            version=self._id.version,
            signature=self._signature_name,
            output=difference.output,
            problem=difference.problem,
            remedy=REMEDY,
        )

    def _note_own_error(self, error: Exception) -> None:
        """Keep records apart that cannot be compared: that is right, whatever a check would say."""
        log_event(
            "company_check_raised",
            logging.ERROR,
            servable=self._id.name,
            version=self._id.version,
            signature=self._signature_name,
            traceback_of=error,
        )
        self.keep_apart(Difference("", f"answers could not be compared: {error_text(error)}"))

    def _to_check(self, feed: Feed, answers: CallOutput) -> tuple[list[str], str]:
        """Return the outputs to check in this call, and the call's company."""
        company = "others" if len(feed.requests) > 1 else "padding"
        self._calls += 1  # a call that is counted twice or not at all does no harm
        due = self._due(answers, company)
        if due and company == "others" and _are_equal(feed):
            company = "equals"
            due = self._due(answers, company)
        return due, company

    def _count(self, names: list[str], company: str, answers: CallOutput) -> None:
        """Count a call as checked, once it was; threads may check a few more at the same time."""
        with self._lock:
            self._calls %= RECHECK_CALLS
            for name in names:
                self._left[name, company] = self._left.get((name, company), self._batches) - 1
                shapes = self._shapes.setdefault(name, set())
                if len(shapes) < MAX_SHAPES:
                    shapes.add(answers.outputs[name].shape[1:])

    def _due(self, answers: CallOutput, company: str) -> list[str]:
        if self._calls >= RECHECK_CALLS:
            return list(answers.outputs)
        return [
            name
            for name, column in answers.outputs.items()
            if self._left.get((name, company), self._batches) > 0
            or self._is_new(name, column.shape[1:])
        ]

    def _is_new(self, name: str, shape: tuple[int, ...]) -> bool:
        shapes = self._shapes.get(name, set())
        return shape not in shapes and len(shapes) < MAX_SHAPES


def _are_equal(feed: Feed) -> bool:
    """Return whether all rows of a call are equal: they cannot be told from one another."""
    for name, column in feed.columns.items():
        if feed.signature.inputs[name].scope is not Scope.ROW or len(column) < 2:
            continue
        first = np.broadcast_to(column[:1], column.shape)
        if column.dtype.hasobject:
            if column.tolist() != first.tolist():
                return False
        elif not np.array_equal(column, first):
            return False
    return True


class TrustedCompany(Company):
    """Of signatures whose rows are known to be independent: nothing is checked or decided."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        super().__init__(ServableId("", 0), "", 0, metrics)

    def keep_apart(self, difference: Difference) -> None:
        """Go on: the kind, or the owner of the model, vouches for it."""


class _Entry:
    """A Company, and what it holds for: this servable, made of these others."""

    def __init__(self, company: Company, servable: Servable, parts: tuple[int, ...]) -> None:
        self.company = company
        self._parts = parts
        try:
            self._servable: weakref.ref[Servable] | None = weakref.ref(servable)
        except TypeError:  # a kind of a user's own may have slots: its version alone tells it
            self._servable = None

    def is_gone(self) -> bool:
        return self._servable is not None and self._servable() is None

    def is_of(self, servable: Servable, parts: tuple[int, ...]) -> bool:
        is_same = self._servable is None or self._servable() is servable
        return is_same and self._parts == parts


class CompanyCheck:
    """Knows every signature that was called, of the versions that are loaded. Thread-safe."""

    def __init__(self, batches: int, metrics: WorkerMetrics) -> None:
        self._batches = batches
        self._metrics = metrics
        self._lock = threading.Lock()
        self._trusted = TrustedCompany(metrics)
        self._entries: OrderedDict[tuple[ServableId, str], _Entry] = OrderedDict()

    def of(
        self, servable: Servable, servable_id: ServableId, name: str, signature: Signature
    ) -> Company:
        """Return what is known of a signature."""
        is_looked_at = signature.joins_records or signature.has_untold_outputs
        if signature.rows_are_independent or not is_looked_at:
            return self._trusted
        key, parts = (servable_id, name), signature.parts
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry.is_of(servable, parts):
                company = Company(servable_id, name, self._batches, self._metrics)
                self._drop_gone()
                entry = self._entries[key] = _Entry(company, servable, parts)
            self._entries.move_to_end(key)
            return entry.company

    def _drop_gone(self) -> None:
        for key in [key for key, entry in self._entries.items() if entry.is_gone()]:
            del self._entries[key]
        while len(self._entries) >= MAX_SIGNATURES:
            self._entries.popitem(last=False)
