"""`topicserve dead-letters list`: counts by reason, then the dead letters, oldest first."""

import argparse
from collections import Counter
from collections.abc import Iterable
from typing import Any

from topicserve.cli.argument_types import count
from topicserve.cli.dead_letters.entry import DeadLetterEntry, decode_entry
from topicserve.cli.dead_letters.filters import Filter, add_filter_arguments, check_filters
from topicserve.cli.dead_letters.topic import (
    add_topic_arguments,
    ends_of,
    log_offsets_of,
    scan_all,
)
from topicserve.cli.results.unread import InvalidRecords
from topicserve.cli.standard_streams import need_output, write_output
from topicserve.cli.terminal import counted, json_line, say, write_line
from topicserve.exit_codes import EXIT_FAILED
from topicserve.printable import printable
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord

EXAMPLE = "example: topicserve dead-letters list --topic digits.dead-letter --since 2h"
DEFAULT_LIMIT = 20
NO_SERVABLE = "-"
_COLUMNS = ("place", "time", "reason", "servable", "id", "message")
_MAX_WIDTHS = {"servable": 32, "id": 40, "message": 100}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_topic_arguments(parser)
    add_filter_arguments(parser)
    parser.add_argument(
        "--limit",
        type=count("--limit"),
        default=DEFAULT_LIMIT,
        metavar="N",
        help="list the first N that match (%(default)s); all of them are counted",
    )
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON with the counts, then one each"
    )


def run(arguments: argparse.Namespace) -> int:
    """Count and list what the topic holds now.

    The exit code is 1 where a record is no dead letter; the first ten are told.
    """
    need_output()
    invalid = InvalidRecords()
    offsets = log_offsets_of(arguments)
    check_filters(arguments, offsets)
    ends = ends_of(offsets)
    found = Listing.of(scan_all(arguments, ends), Filter(arguments), arguments.limit, invalid)
    if arguments.json:
        for encoded in found.json_lines():
            write_output(encoded + b"\n")
    else:
        for line in found.text_lines():
            write_line(line)
    write_output(b"", flush=True)
    if found.matched > len(found.listed):
        rest = found.matched - len(found.listed)
        say(f"{rest:,} more {_match(rest)}; list more with --limit")
    return EXIT_FAILED if invalid.count else 0


class Listing:
    """Counts of all that match, and the first of them; memory is bounded by the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.read = 0
        self.matched = 0
        self.invalid = 0
        self.reasons: Counter[str] = Counter()
        self.servables: Counter[str] = Counter()
        self.listed: list[dict[str, Any]] = []

    @classmethod
    def of(
        cls, records: Iterable[KafkaRecord], wanted: Filter, limit: int, invalid: InvalidRecords
    ) -> "Listing":
        """Return what these records come to; those that are no dead letters are told."""
        listing = cls(limit)
        for record in records:
            listing.read += 1
            try:
                entry = decode_entry(record)
            except InvalidRecordError as error:
                listing.invalid += 1
                invalid.tell(record, error)
                continue
            if wanted.wants(entry):
                listing.add(entry)
        return listing

    def add(self, entry: DeadLetterEntry) -> None:
        """Count one that matches, and keep it if it is among the first."""
        self.matched += 1
        self.reasons[entry.reason] += 1
        self.servables[entry.servable or NO_SERVABLE] += 1
        if len(self.listed) < self._limit:
            self.listed.append(entry.summary())

    def json_lines(self) -> Iterable[bytes]:
        """Yield the counts, then the dead letters."""
        counts = {
            "read": self.read,
            "invalid": self.invalid,
            "matched": self.matched,
            "reasons": dict(self.reasons.most_common()),
            "servables": dict(self.servables.most_common()),
        }
        for content in (counts, *self.listed):
            yield json_line(content)

    def text_lines(self) -> Iterable[str]:
        """Yield a table of reasons, then one of dead letters."""
        yield f"{self.matched:,} of {counted(self.read, 'record')} {_match(self.matched)}"
        for reason, number in self.reasons.most_common():
            yield f"{number:>11,}  {reason}"
        if not self.listed:
            return
        rows = [_COLUMNS, *map(_row, self.listed)]
        widths = [max(len(row[index]) for row in rows) for index in range(len(_COLUMNS) - 1)]
        yield ""
        for row in rows:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
            yield "  ".join([*padded, row[-1]]).rstrip()


def _match(number: int) -> str:
    return "matches" if number == 1 else "match"


def _row(summary: dict[str, Any]) -> tuple[str, ...]:
    place = f"{summary['partition']}:{summary['offset']}"
    return tuple(_cell(name, {**summary, "place": place}[name]) for name in _COLUMNS)


def _cell(name: str, content: str | None) -> str:
    text = printable(content or "-")
    width = _MAX_WIDTHS.get(name, len(text))
    return text if len(text) <= width else f"{text[: width - 3]}..."
