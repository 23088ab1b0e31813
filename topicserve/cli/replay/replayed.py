"""The outcomes of a replay, kept in a file until the published ones are beside them."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import orjson

from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import decode_dead_letter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.wire.result import Result, decode_result
from topicserve.worker.replay.progress_note import Ranges

_TABLE = """CREATE TABLE replayed (
    id TEXT PRIMARY KEY, input TEXT, headers BLOB, value BLOB, reason TEXT, problem TEXT,
    published_problem TEXT
) WITHOUT ROWID"""
# At least once a record may have been answered twice: the same, by the same version. Of two results
# that of which the body can be read counts.
_ADD = """INSERT INTO replayed VALUES (?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (id) DO UPDATE SET
    input = excluded.input, headers = excluded.headers, value = excluded.value, problem = NULL
    WHERE replayed.problem IS NOT NULL AND excluded.problem IS NULL AND excluded.reason IS NULL"""

Follow = Callable[[KafkaRecord], KafkaRecord]
"""Returns a result with its body, wherever it lies; raises InvalidRecordError where it cannot."""


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

    def add_results(self, records: Iterable[KafkaRecord], follow: Follow) -> None:
        """Keep the results of this replay; a topic may have those of others too."""
        for record in records:
            headers = dict(record.headers)
            if headers.get(names.REPLAY_GROUP) == self._group_id:
                value, problem = _value_of(record, follow)
                kept = [(n, v) for n, v in record.headers if v is not None]
                packed = orjson.dumps([(n, v.decode(errors="replace")) for n, v in kept])
                place = (headers.get(names.REPLAY_INPUT) or b"").decode(errors="replace")
                self._add((id_of(record), place, packed, value, None, problem))

    def add_dead_letters(self, records: Iterable[KafkaRecord]) -> None:
        """Keep the reasons of dead letters of records of the range."""
        for record in records:
            with suppress(InvalidRecordError):
                letter = decode_dead_letter(record)
                own = self._ranges.get(TopicPartition(letter.record.topic, letter.record.partition))
                offset = letter.record.offset
                if own is not None and own.start <= offset < own.end:
                    place = f"{letter.record.topic}:{letter.record.partition}:{offset}"
                    row = (id_of(letter.record), place, None, None, letter.reason.value, None)
                    self._add(row)

    def __contains__(self, record_id: str) -> bool:
        """Tell whether a record has an outcome that is not taken yet."""
        asked = "SELECT 1 FROM replayed WHERE id = ?"
        return self._rows.execute(asked, (record_id,)).fetchone() is not None

    def take(self, record_id: str) -> tuple[str, Result | None, str | None] | None:
        """Return a record's place, result and reason, once; None where the result cannot be read.

        That is among those that are not comparable then.
        """
        asked = "SELECT input, headers, value, reason, problem FROM replayed WHERE id = ?"
        place, headers, value, reason, problem = self._rows.execute(asked, (record_id,)).fetchone()
        if problem is not None:
            return None
        result = None
        if reason is None:
            listed = [(name, text.encode()) for name, text in orjson.loads(headers)]
            try:
                result = decode_result(KafkaRecord("", 0, 0, 0, None, value, listed))
            except InvalidRecordError as error:
                noted = "UPDATE replayed SET problem = ? WHERE id = ?"
                self._rows.execute(noted, (f"replayed: {error}", record_id))
                return None
        self._rows.execute("DELETE FROM replayed WHERE id = ?", (record_id,))
        return place, result, reason

    def note_problem(self, record_id: str, problem: str) -> None:
        """Note why a published result cannot be read; another one of the record may be taken."""
        noted = "UPDATE replayed SET published_problem = ? WHERE id = ?"
        self._rows.execute(noted, (problem, record_id))

    def not_comparable(self) -> Iterator[tuple[str, str, str]]:
        """Yield id, place and problem of what was not taken since it cannot be compared."""
        asked = (
            "SELECT id, input, coalesce(problem, published_problem) AS found FROM replayed "
            "WHERE found IS NOT NULL ORDER BY id"
        )
        yield from self._rows.execute(asked)

    def left(self) -> int:
        """Return how many other results no one has taken."""
        asked = (
            "SELECT count(*) FROM replayed "
            "WHERE coalesce(reason, problem, published_problem) IS NULL"
        )
        return int(self._rows.execute(asked).fetchone()[0])

    def close(self) -> None:
        """Delete the file."""
        self._rows.close()
        self._directory.cleanup()

    def _add(self, row: tuple[Any, ...]) -> None:
        self._rows.execute(_ADD, row)


def _value_of(record: KafkaRecord, follow: Follow) -> tuple[bytes | None, str | None]:
    """Return a result's body, and why it cannot be read."""
    try:
        return follow(record).value, None
    except InvalidRecordError as error:
        return None, f"replayed, {record.topic}-{record.partition} offset {record.offset}: {error}"


def id_of(record: KafkaRecord) -> str:
    """Return the id of the record that a result answers."""
    return (dict(record.headers).get(names.ID) or b"").decode(errors="replace")
