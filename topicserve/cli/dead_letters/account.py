"""What became of every dead letter that a replay read: the numbers add up."""

from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import Any

from topicserve.cli.terminal import counted
from topicserve.printable import printable


class Skip(Enum):
    """Why a record was not replayed."""

    NOT_WANTED = "not_wanted"
    REPLAYED_BEFORE = "replayed_before"
    NOT_A_DEAD_LETTER = "not_a_dead_letter"
    INCOMPLETE = "incomplete"
    MAX_ATTEMPTS = "max_attempts"
    DEADLINE_PASSED = "deadline_passed"
    TOPIC_MISSING = "topic_missing"
    METADATA_MISSING = "metadata_missing"


EXPLANATIONS = {
    Skip.NOT_WANTED: "left out by the filters",
    Skip.REPLAYED_BEFORE: "this group replayed them before; --again replays them once more",
    Skip.NOT_A_DEAD_LETTER: "have no headers of a dead letter",
    Skip.INCOMPLETE: "their value, headers or key were left out, so there is nothing to replay",
    Skip.MAX_ATTEMPTS: "replayed as often as --max-attempts allows",
    Skip.DEADLINE_PASSED: "their deadline has passed: they would become dead letters again",
    Skip.TOPIC_MISSING: "their original topic does not exist, or is this one; see --to",
    Skip.METADATA_MISSING: "their metadata is not in the store any more; see --missing-metadata",
}


class Account:
    """Counts; `read` is always what was published, failed and skipped together.

    A dry run and a replay fill the same account, so what was announced can be compared with what
    was done. One thread uses it.
    """

    def __init__(self) -> None:
        self.published: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.skipped: Counter[Skip] = Counter()
        self.without_metadata = 0
        """Of those published: their metadata is missing, and they were replayed all the same."""

    @property
    def read(self) -> int:
        """Return how many records were dealt with."""
        return self.published.total() + self.failed.total() + self.skipped.total()

    def content(self, *, is_dry_run: bool) -> dict[str, Any]:
        """Return the account as a script has it."""
        return {
            "dry_run": is_dry_run,
            "read": self.read,
            "published": self.published.total(),
            "failed": self.failed.total(),
            "skipped": self.skipped.total(),
            "published_by_topic": dict(self.published),
            "failed_by_error": dict(self.failed),
            "skipped_by_reason": {skip.value: n for skip, n in self.skipped.most_common()},
            "without_metadata": self.without_metadata,
        }

    def lines(self, *, is_dry_run: bool) -> Iterable[str]:
        """Yield the account for a person."""
        yield f"{counted(self.read, 'record')} read"
        verb = "would be published" if is_dry_run else "published"
        yield f"{self.published.total():>11,}  {verb}"
        for topic, number in self.published.most_common():
            yield f"{number:>15,}  to {printable(topic)}"
        if self.without_metadata:
            yield f"{self.without_metadata:>15,}  whose metadata is missing"
        if not is_dry_run:
            yield f"{self.failed.total():>11,}  failed"
            for problem, number in self.failed.most_common():
                yield f"{number:>15,}  {printable(problem)}"
        yield f"{self.skipped.total():>11,}  skipped"
        for skip, number in self.skipped.most_common():
            yield f"{number:>15,}  {skip.value}: {EXPLANATIONS[skip]}"
