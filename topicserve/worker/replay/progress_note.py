"""What a replay commits beside a partition's offset: its range, and the account up to there.

    replay1 {"job":"5f0c2e7","range":[100,900],"read":40,"outcomes":{"result":38}} topicserve1 ...

What follows the object is the worker's own note (see quarantine/note.py), as it would be alone.
"""

from collections import Counter
from dataclasses import dataclass, field

import msgspec
import orjson

from topicserve.backends.broker import OffsetAndMetadata, metadata_of
from topicserve.errors import TopicserveError
from topicserve.wire.kafka_record import TopicPartition

_FORMAT = "replay1 "


class ForeignGroupError(TopicserveError):
    """The group has committed offsets that are not those of this replay."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets of one partition: from `start` up to `end`, which is not part of it."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Return how many offsets these are; markers and deleted records have some of them."""
        return max(self.end - self.start, 0)


@dataclass(slots=True)
class Tally:
    """What became of the records of some offsets: `read` of them, each with one outcome."""

    read: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """By RESULT, SKIPPED, or the reason of a dead letter."""

    def plus(self, other: "Tally") -> "Tally":
        """Return both together."""
        return Tally(self.read + other.read, self.outcomes + other.outcomes)


RESULT = "result"
SKIPPED = "other_servable"


class _Content(msgspec.Struct):
    job: str
    range: tuple[int, int]
    read: int
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True)
class ProgressNote:
    """The state of one partition of a replay."""

    job: str
    """Says which command this is: replicas with another one are refused."""
    range: OffsetRange
    tally: Tally

    def beside(self, offset: int) -> OffsetAndMetadata:
        """Return what to commit: the offset, this note, and the worker's note that it has now."""
        content = {
            "job": self.job,
            "range": [self.range.start, self.range.end],
            "read": self.tally.read,
            "outcomes": dict(self.tally.outcomes),
        }
        text = f"{_FORMAT}{orjson.dumps(content).decode()} {metadata_of(offset)}"
        return OffsetAndMetadata(int(offset), text)


def split(committed: int) -> tuple[ProgressNote, OffsetAndMetadata]:
    """Return a committed offset's note, and the offset with the worker's note alone.

    Raises ForeignGroupError for an offset that no replay has committed.
    """
    text = metadata_of(committed)
    if not text.startswith(_FORMAT):
        raise ForeignGroupError("has committed offsets that are not a replay's")
    found, _, rest = text.removeprefix(_FORMAT).partition(" ")
    try:
        content = msgspec.json.decode(found, type=_Content)
    except msgspec.DecodeError as error:
        raise ForeignGroupError(f"has a note that cannot be read: {error}") from None
    tally = Tally(content.read, Counter(content.outcomes))
    note = ProgressNote(content.job, OffsetRange(*content.range), tally)
    return note, OffsetAndMetadata(int(committed), rest)


Ranges = dict[TopicPartition, OffsetRange]
