"""What a replay's results say beside those that were published for the same records.

The replayed ones are kept in a file, so memory stays flat however many there are; then the
published ones are read once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from topicserve.cli.replay.differences import NOT_NUMBERS, answer_of, largest_difference
from topicserve.cli.replay.replayed import Follow, Replayed, id_of
from topicserve.cli.terminal import counted, json_line
from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import Result, decode_result
from topicserve.wire.shadow_record import is_shadow_record

_RESULT_TYPE = names.RESULT_TYPE.encode()


@dataclass(slots=True)
class Comparison:
    """Counts of results, each compared with the first one published for its record."""

    equal: int = 0
    different: int = 0
    dead_letters: int = 0
    """Answered then, given up by the replay."""
    not_published: int = 0
    """Answered by the replay; no result of then was found."""
    not_comparable: int = 0
    """One of the two results cannot be read; the file of the differences says why."""
    other_records: int = 0
    """Records among the published ones that are neither results nor a shadow's."""
    largest_difference: float = 0.0
    """Of numbers."""

    def content(self) -> dict[str, Any]:
        """Return the counts as a script has them."""
        return {
            "equal": self.equal,
            "different": self.different,
            "dead_letters": self.dead_letters,
            "not_published": self.not_published,
            "not_comparable": self.not_comparable,
            "other_records": self.other_records,
            "largest_difference": self.largest_difference,
        }

    def lines(self, topic: str) -> Iterator[str]:
        """Yield the counts for a person."""
        compared = self.equal + self.different + self.dead_letters
        yield f"{compared:,} compared with what was published to {topic}"
        yield f"{self.equal:>11,}  equal"
        largest = (
            f"  (numbers by up to {self.largest_difference:.6g})" if self.largest_difference else ""
        )
        yield f"{self.different:>11,}  different{largest}"
        yield f"{self.dead_letters:>11,}  answered then, dead letters now"
        yield f"{self.not_published:>11,}  answered now, without a published result"
        yield f"{self.not_comparable:>11,}  not comparable"
        if self.other_records:
            verb = "is no result" if self.other_records == 1 else "are no results"
            yield f"{counted(self.other_records, 'record')} of {topic} {verb}"


def compare(
    replayed: Replayed, published: Iterable[KafkaRecord], differences: IO[bytes], follow: Follow
) -> Comparison:
    """Write a line for each record that was answered otherwise, and return the counts.

    Of several published results of one record the first one that can be read counts. Records that
    are not among the replayed ones are passed over.
    """
    found = Comparison()
    for record in published:
        if dict(record.headers).get(names.TYPE) != _RESULT_TYPE:
            found.other_records += not is_shadow_record(record)
        elif (record_id := id_of(record)) in replayed:
            _compare_one(found, replayed, record_id, record, differences, follow)
    found.not_published = replayed.left()
    for record_id, place, problem in replayed.not_comparable():
        found.not_comparable += 1
        line = {"id": record_id, "input": place, "not_comparable": problem}
        differences.write(json_line(line) + b"\n")
    return found


def _compare_one(
    found: Comparison,
    replayed: Replayed,
    record_id: str,
    record: KafkaRecord,
    differences: IO[bytes],
    follow: Follow,
) -> None:
    try:
        before = decode_result(follow(record))
    except InvalidRecordError as error:
        where = f"{record.topic}-{record.partition} offset {record.offset}"
        replayed.note_problem(record_id, f"published, {where}: {error}")
        return
    if (after := replayed.take(record_id)) is not None:
        _count(found, before, after, differences)


def _count(
    found: Comparison,
    before: Result,
    after: tuple[str, Result | None, str | None],
    differences: IO[bytes],
) -> None:
    place, now, reason = after
    line: dict[str, Any] = {"id": before.record_id, "input": place, "published": answer_of(before)}
    if now is None:
        found.dead_letters += 1
        line["dead_letter"] = reason
    else:
        difference = NOT_NUMBERS if before.form is not now.form else _difference(before, now)
        if difference == 0:
            found.equal += 1
            return
        found.different += 1
        line["replayed"] = answer_of(now)
        if difference != NOT_NUMBERS:
            line["difference"] = difference
            found.largest_difference = max(found.largest_difference, difference)
    differences.write(json_line(line) + b"\n")


def _difference(before: Result, now: Result) -> float:
    try:
        return largest_difference(before.value, now.value)
    except RecursionError:
        return NOT_NUMBERS
