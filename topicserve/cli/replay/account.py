"""What became of the records of a replay: read, answered, given up and left out add up."""

from collections.abc import Iterator
from typing import Any

from topicserve.cli.replay.comparison import Comparison
from topicserve.cli.terminal import counted
from topicserve.worker.replay.progress import ReplayProgress
from topicserve.worker.replay.progress_note import RESULT, SKIPPED


class ReplayAccount:
    """The account that the replay's group has committed, of all replicas together.

    `missing` is what the sums do not explain. The command fails where it is not 0.
    """

    def __init__(self, progress: ReplayProgress, deleted: int = 0) -> None:
        """Take also how many records retention deleted before this process could read them."""
        self._progress = progress
        self.deleted = deleted
        tally = progress.tally
        self.read = tally.read
        self.results = tally.outcomes[RESULT]
        self.skipped = tally.outcomes[SKIPPED]
        self.dead_letters = {
            reason: n
            for reason, n in tally.outcomes.most_common()
            if reason not in (RESULT, SKIPPED)
        }
        self.is_complete = progress.is_complete
        self.comparison: Comparison | None = None

    @property
    def missing(self) -> int:
        """Return how many records were read and have no outcome; anything but 0 is a fault."""
        return self.read - self.results - self.skipped - sum(self.dead_letters.values())

    @property
    def is_good(self) -> bool:
        """Return whether all of the range was read, and every record has an outcome."""
        return self.is_complete and not self.missing and not self.deleted

    def content(self) -> dict[str, Any]:
        """Return the account as a script has it."""
        compared = {} if self.comparison is None else {"compared": self.comparison.content()}
        return {
            "complete": self.is_complete,
            "read": self.read,
            "results": self.results,
            "dead_letters": sum(self.dead_letters.values()),
            "dead_letters_by_reason": self.dead_letters,
            "other_servable": self.skipped,
            "missing": self.missing,
            "deleted": self.deleted,
            "offsets": self._progress.total_offsets,
            "offsets_left": sum(self._progress.left.values()),
            "ranges": {
                str(p.partition): [own.start, own.end]
                for p, own in sorted(self._progress.ranges.items())
            },
            **compared,
        }

    def lines(self) -> Iterator[str]:
        """Yield the account for a person."""
        yield f"{counted(self.read, 'record')} read"
        yield f"{self.results:>11,}  results"
        yield f"{sum(self.dead_letters.values()):>11,}  dead letters"
        for reason, number in self.dead_letters.items():
            yield f"{number:>15,}  {reason}"
        if self.skipped:
            yield f"{self.skipped:>11,}  for other servables, left out"
        if self.missing:
            yield f"{self.missing:>11,}  without an outcome"
        if self.deleted:
            yield f"{self.deleted:>11,}  deleted by retention before they were read"
        if not self.is_complete:
            left = sum(self._progress.left.values())
            total = counted(self._progress.total_offsets, "offset")
            yield f"not complete: {left:,} of {total} are left"
