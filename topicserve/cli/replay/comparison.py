"""What a replay's results say beside those that were published for the same records.

The replayed ones are kept in a file, so memory stays flat however many there are; then the
published ones are read once.
"""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

import orjson

from topicserve.cli.replay.differences import NOT_NUMBERS, answer_of, largest_difference
from topicserve.cli.terminal import json_line
from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import decode_dead_letter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.wire.result import Result, decode_result
from topicserve.worker.replay.progress_note import Ranges

_RESULT_TYPE = names.RESULT_TYPE.encode()
_TABLE = """CREATE TABLE replayed (
    id TEXT PRIMARY KEY, input TEXT, headers BLOB, value BLOB, reason TEXT
) WITHOUT ROWID"""


@dataclass(slots=True)
class Comparison:
    """Counts of results, each compared with the first one published for its record."""

    equal: int = 0
    different: int = 0
    dead_letters: int = 0
    """Answered then, given up by the replay."""
    not_published: int = 0
    """Answered by the replay; no result of then was found."""
    largest_difference: float = 0.0
    """Of numbers."""

    def content(self) -> dict[str, Any]:
        """Return the counts as a script has them."""
        return {
            "equal": self.equal,
            "different": self.different,
            "dead_letters": self.dead_letters,
            "not_published": self.not_published,
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


class Replayed:
    """The outcomes of a replay by record id, in a temporary file. One thread uses it."""

    def __init__(self, group_id: str, ranges: Ranges) -> None:
        self._group_id = group_id.encode()
        self._ranges = ranges
        self._directory = tempfile.TemporaryDirectory(prefix="topicserve-replay-")
        self._rows = sqlite3.connect(f"{self._directory.name}/replayed", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode=OFF")
        self._rows.execute("PRAGMA synchronous=OFF")
        self._rows.execute(_TABLE)
        self._rows.execute("BEGIN")

    def add_results(self, records: Iterable[KafkaRecord]) -> None:
        """Keep the results of this replay; a topic may have those of others too."""
        for record in records:
            headers = dict(record.headers)
            if headers.get(names.REPLAY_GROUP) == self._group_id:
                kept = [(n, v) for n, v in record.headers if v is not None]
                packed = orjson.dumps([(n, v.decode(errors="replace")) for n, v in kept])
                place = (headers.get(names.REPLAY_INPUT) or b"").decode()
                self._add((_id_of(record), place, packed, record.value, None))

    def add_dead_letters(self, records: Iterable[KafkaRecord]) -> None:
        """Keep the reasons of dead letters of records of the range."""
        for record in records:
            with suppress(InvalidRecordError):
                letter = decode_dead_letter(record)
                own = self._ranges.get(TopicPartition(letter.record.topic, letter.record.partition))
                offset = letter.record.offset
                if own is not None and own.start <= offset < own.end:
                    place = f"{letter.record.topic}:{letter.record.partition}:{offset}"
                    row = (_id_of(letter.record), place, None, None, letter.reason.value)
                    self._add(row)

    def take(self, record_id: str) -> tuple[str, Result | None, str | None] | None:
        """Return a record's place, result and reason, once."""
        asked = "DELETE FROM replayed WHERE id = ? RETURNING input, headers, value, reason"
        row = self._rows.execute(asked, (record_id,)).fetchone()
        if row is None:
            return None
        place, headers, value, reason = row
        if reason is not None:
            return place, None, reason
        listed = [(name, text.encode()) for name, text in orjson.loads(headers)]
        return place, decode_result(KafkaRecord("", 0, 0, 0, None, value, listed)), None

    def left(self) -> int:
        """Return how many results no one has taken."""
        asked = "SELECT count(*) FROM replayed WHERE reason IS NULL"
        return int(self._rows.execute(asked).fetchone()[0])

    def close(self) -> None:
        """Delete the file."""
        self._rows.close()
        self._directory.cleanup()

    def _add(self, row: tuple[Any, ...]) -> None:
        # At least once a record may have been answered twice: the same, by the same version.
        self._rows.execute("INSERT OR IGNORE INTO replayed VALUES (?, ?, ?, ?, ?)", row)


def compare(
    replayed: Replayed, published: Iterable[KafkaRecord], differences: IO[bytes]
) -> Comparison:
    """Write a line for each record that was answered otherwise, and return the counts.

    Of several published results of one record the first one counts. Records that are not among the
    replayed ones are passed over.
    """
    found = Comparison()
    for record in published:
        # Not a shadow's record, or another program's.
        if dict(record.headers).get(names.TYPE) != _RESULT_TYPE:
            continue
        after = replayed.take(_id_of(record))
        if after is not None:
            _compare_one(found, decode_result(record), after, differences)
    found.not_published = replayed.left()
    return found


def _compare_one(
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


def _id_of(record: KafkaRecord) -> str:
    return (dict(record.headers).get(names.ID) or b"").decode(errors="replace")
