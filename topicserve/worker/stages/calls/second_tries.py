"""Records whose result was refused, and that are predicted once more before they are given up.

A result may be too large only because its record shared a call, such as with one that a layer pads
all others to: the record is predicted alone. And it may be refused because a new version writes
what cannot be published: while that is on probation, the version before it predicts the record, and
what a canary writes so, the default predicts.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.stages.request import Evidence, Polled, Request, Trial

MAX_RECORDS = 10_000
# Each is another combination of versions: of two swaps at once there are three.
MAX_REFUSALS = 4
# Refusals of one record, those included that were noted while it was predicted once more.
MAX_NOTED = 20


class Refusal(NamedTuple):
    """Why a result was refused."""

    reason: Reason
    error: Exception


@dataclass(slots=True)
class SecondTry:
    """How a record is predicted the next time: alone, and not by what was refused."""

    refused: dict[frozenset[Trial], Refusal] = field(default_factory=dict)
    """By the versions on probation, and the canary, that had answered."""
    noted: int = 0
    """How many results were refused in all."""
    is_stored: bool = False
    """Whether its result is stored elsewhere the next time, whatever its size."""


class SecondTries:
    """Knows them by their place in the log, until they have an outcome.

    Batch threads note what they could not encode and ask what to predict alone; the delivery thread
    notes what the broker refused, and forgets what it acknowledged. One lock guards all of it, and
    nothing blocks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries: dict[tuple[TopicPartition, int], SecondTry] = {}

    def __bool__(self) -> bool:
        """Return whether any are known: callers ask this first, for every batch, without a lock."""
        return bool(self._tries)

    def note(
        self, polled: Polled, refusal: Refusal, *, is_alone: bool, evidence: Evidence | None
    ) -> bool:
        """Note a result that was refused; return whether the record is to be predicted again."""
        if not isinstance(polled, Request):
            return False
        place = _place(polled)
        with self._lock:
            known = self._tries.get(place) or SecondTry()
            known.noted += 1
            if self._may_help(known, refusal, is_alone=is_alone, evidence=evidence):
                self._add(place, known)
                return True
            if not known.is_stored:
                self._tries.pop(place, None)
            return False

    def note_stored(self, polled: Polled) -> bool:
        """Note that a record's result is to be stored elsewhere; False if that was noted before."""
        if not isinstance(polled, Request):
            return False
        place = _place(polled)
        with self._lock:
            known = self._tries.get(place) or SecondTry()
            was_stored, known.is_stored = known.is_stored, True
            self._add(place, known)
            return not was_stored

    def is_stored(self, polled: Polled) -> bool:
        """Return whether a record's result is to be stored elsewhere, whatever its size."""
        with self._lock:
            known = self._tries.get(_place(polled))
            return known is not None and known.is_stored

    def _may_help(
        self, known: SecondTry, refusal: Refusal, *, is_alone: bool, evidence: Evidence | None
    ) -> bool:
        """Note the refusal; return whether the next prediction may be another one.

        What shared its call, or was answered by what is refused already, was predicted before that
        was noted, such as in an epoch that was aborted meanwhile: the next one knows of it.
        """
        if known.noted > MAX_NOTED:
            return False
        if not is_alone and refusal.reason is not Reason.RESULT_REFUSED:
            return True
        answered = evidence.replaceable if evidence is not None else frozenset()
        if not answered or (answered not in known.refused and len(known.refused) >= MAX_REFUSALS):
            return False
        known.refused.setdefault(answered, refusal)
        return True

    def of(self, requests: Sequence[Request]) -> Mapping[int, SecondTry]:
        """Return those of these requests that are to be predicted alone, by their identity."""
        with self._lock:
            found = ((id(request), self._tries.get(_place(request))) for request in requests)
            return {one: second for one, second in found if second is not None}

    def forget(self, finished: Sequence[Polled]) -> None:
        """Forget records that have an outcome."""
        with self._lock:
            for polled in finished:
                self._tries.pop(_place(polled), None)

    def _add(self, place: tuple[TopicPartition, int], second: SecondTry) -> None:
        if len(self._tries) >= MAX_RECORDS and place not in self._tries:
            self._tries.clear()  # of partitions that went: their next owner finds the same
        self._tries[place] = second


def _place(polled: Polled) -> tuple[TopicPartition, int]:
    return polled.assignment.partition, polled.record.offset
