"""A partition whose records may have ended a worker, and the chunks in which it is read."""

from collections import deque
from dataclasses import dataclass, field, replace

from topicserve.worker.quarantine.note import Note, Suspects
from topicserve.worker.stages.request import Polled, Request

FIRST_CHUNK_RECORDS = 256
"""After one death. A note costs a commit, some milliseconds: few records would read slowly."""
_CHUNK_SHRINKS_BY = 8
_MAX_HELD_RECORDS = 1024


@dataclass(slots=True)
class CarefulPartition:
    """A partition that is read carefully. The polling thread's alone."""

    note: Note
    """What was found at the assignment: what is suspected."""
    held: deque[tuple[int, Request]] = field(default_factory=deque)
    """Requests that wait for their chunk, with their epochs, in offset order."""

    @property
    def is_full(self) -> bool:
        """Return whether so many requests are held that no more are to be polled."""
        return len(self.held) > _MAX_HELD_RECORDS

    def deaths(self, offset: int) -> int | None:
        """Return how many workers died with a record in flight; None if it is not suspected."""
        suspects = self.note.suspects
        if suspects is not None and offset in suspects:
            return suspects.deaths
        # Records before the suspects go the same way: they must be published first.
        last = max(self.note.given_up, default=-1)
        if suspects is not None:
            last = max(last, suspects.first)
        return self.note.deaths if offset < self.note.until or offset <= last else None

    def noted(self, first: int, last: int, *, timed_out: bool = False) -> Note:
        """Return the note that says that these offsets are being predicted."""
        suspects = Suspects(
            first, last, self.deaths(first) or 0, self._alone(first, last), timed_out
        )
        return replace(self.note, suspects=suspects, is_predicting=True)

    def next_chunk(self, max_attempts: int) -> list[tuple[int, Request]]:
        """Take out the requests to predict next; none if the first one is not suspected."""
        deaths = self.deaths(self.held[0][1].record.offset)
        if deaths is None:
            return []
        size = _chunk_size(deaths, max_attempts)
        taken: list[tuple[int, Request]] = []
        while self.held and len(taken) < size:
            if self.deaths(self.held[0][1].record.offset) != deaths:
                break
            taken.append(self.held.popleft())
        return taken

    def drop_revoked(self) -> list[Polled]:
        """Take out and return the held requests whose partition is no longer ours."""
        dropped: list[Polled] = [one for _, one in self.held if one.assignment.closed]
        self.held = deque(one for one in self.held if not one[1].assignment.closed)
        return dropped

    def _alone(self, first: int, last: int) -> int:
        """Return at how many deaths a record was alone: known of the one that is suspected now."""
        suspects = self.note.suspects
        is_the_one = suspects is not None and suspects.first == first == last == suspects.last
        return suspects.alone if suspects is not None and is_the_one else 0


def _chunk_size(deaths: int, max_attempts: int) -> int:
    """Return how many records to try: one alone where the next death must be the last."""
    if deaths >= max_attempts - 1:
        return 1
    shrunk: int = FIRST_CHUNK_RECORDS // _CHUNK_SHRINKS_BY ** max(deaths - 1, 0)
    return max(shrunk, 2)
