"""What a worker commits beside a partition's offset, for whichever replica reads it next.

    topicserve1 working=5f0c2e77 deaths=1 until=16484 suspects=128-191 suspect_deaths=1 predicting

A worker that has a partition says `working` with its own name, and takes that back when it gives
the partition up in order. So a replica that finds another's name knows that the other died, or was
cut off, and what was in flight then: anything below `until`, or the `suspects`, where the other had
noted that it was `predicting` them. Records that are `given_up` stay in the note until the
partition is committed past them, since the worker may die of another one before (a `t` says that it
timed out).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_FORMAT = "topicserve1"
# Keeps the text far below what brokers take, 4,096 bytes.
_MAX_GIVEN_UP = 100
_DEATHS_ALONE = 2


@dataclass(frozen=True, slots=True)
class Suspects:
    """The offsets that were being predicted."""

    first: int
    last: int
    deaths: int
    """How many workers died with these records in flight."""
    alone: int = 0
    """At how many of those deaths one record was noted, and no other."""
    timed_out: bool = False
    """Whether the prediction did not return in time, rather than end the process."""

    @property
    def is_one(self) -> bool:
        """Return whether there is but one."""
        return self.first == self.last

    def after_a_death(self) -> "Suspects":
        """Return them with one death more."""
        return replace(self, deaths=self.deaths + 1, alone=self.alone + self.is_one)

    def __contains__(self, offset: int) -> bool:
        """Return whether an offset is among them."""
        return self.first <= offset <= self.last


@dataclass(frozen=True, slots=True)
class Note:
    """The state of one partition between two workers."""

    worker: str = ""
    """Who has the partition; empty once it was given up in order."""
    deaths: int = 0
    """How many workers died with the records below `until` in flight."""
    until: int = 0
    suspects: Suspects | None = None
    is_predicting: bool = False
    """Whether the suspects are being predicted; otherwise they are what is remembered."""
    given_up: Mapping[int, bool] = field(default_factory=dict)
    """Offsets that are to become dead letters, and whether each timed out."""

    @classmethod
    def parse(cls, text: str) -> "Note":
        """Return what a text says; what is not ours, or damaged, says nothing."""
        word, *rest = text.split(" ")
        if word != _FORMAT:
            return cls()
        try:
            return _parse(rest)
        except (ValueError, KeyError):
            return cls()

    @property
    def text(self) -> str:
        """Return the note as it is committed; nothing where there is nothing to say."""
        words = [f"working={self.worker}"] if self.worker else []
        if self.deaths:
            words += [f"deaths={self.deaths}", f"until={self.until}"]
        suspects = self.suspects
        if suspects is not None:
            words += [
                f"suspects={suspects.first}-{suspects.last}",
                f"suspect_deaths={suspects.deaths}",
            ]
            words += [f"alone={suspects.alone}"] if suspects.alone else []
            words += ["timed_out"] if suspects.timed_out else []
            words += ["predicting"] if self.is_predicting else []
        if self.given_up:
            offsets = [f"{offset}{'t' * out}" for offset, out in sorted(self.given_up.items())]
            words.append(f"given_up={','.join(offsets[:_MAX_GIVEN_UP])}")
        return " ".join([_FORMAT, *words]) if words else ""

    def taken_over(self, worker: str, next_offset: int, end: int) -> "Note":
        """Return the note of the worker that has the partition now, reading on at `next_offset`.

        `end` is the offset below which everything is that the worker before may have had in flight.
        """
        found = replace(self._without_past(next_offset), worker=worker, is_predicting=False)
        if self.worker in ("", worker):
            return found
        if found.suspects is not None and self.is_predicting:
            return replace(found, suspects=found.suspects.after_a_death())
        if found.deaths or found.suspects is not None:
            return found  # it was read in chunks, none of which was being predicted
        return replace(found, deaths=1, until=end)

    def judged(self, max_attempts: int) -> "Note":
        """Return the note with a suspect given up that is alone and was tried often enough.

        A worker that is killed from outside dies with one record or the other in flight. That it is
        twice the same one is no accident; that a prediction did not return never is.
        """
        suspects = self.suspects
        if suspects is None or not suspects.is_one or suspects.deaths < max_attempts:
            return self
        if suspects.alone < _DEATHS_ALONE and not suspects.timed_out:
            return self
        given_up = {**self.given_up, suspects.first: suspects.timed_out}
        return replace(self, suspects=None, given_up=given_up)

    def handed_over(self) -> "Note":
        """Return the note of a worker that gives the partition up in order."""
        return replace(self, worker="", is_predicting=False)

    def _without_past(self, next_offset: int) -> "Note":
        """Return the note without what is about offsets that are finished."""
        left = {offset: out for offset, out in self.given_up.items() if offset >= next_offset}
        found = replace(self, given_up=left)
        if found.suspects is not None and found.suspects.last < next_offset:
            found = replace(found, suspects=None)
        if found.until <= next_offset:
            found = replace(found, deaths=0, until=0)
        return found


def _parse(words: list[str]) -> Note:
    fields = dict(word.split("=", 1) for word in words if "=" in word)
    given_up = {
        int(offset.removesuffix("t")): offset.endswith("t")
        for offset in fields.get("given_up", "").split(",")
        if offset
    }
    suspects = None
    if "suspects" in fields:
        first, _, last = fields["suspects"].partition("-")
        suspects = Suspects(
            int(first),
            int(last),
            int(fields["suspect_deaths"]),
            int(fields.get("alone", 0)),
            "timed_out" in words,
        )
    return Note(
        fields.get("working", ""),
        int(fields.get("deaths", 0)),
        int(fields.get("until", 0)),
        suspects,
        suspects is not None and "predicting" in words,
        given_up,
    )
