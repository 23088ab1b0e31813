"""Which dead letters are wanted: the flags, and the test of one dead letter."""

import argparse
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from topicserve.backends.broker import LogOffsets
from topicserve.cli.argument_types import time_or_age
from topicserve.cli.dead_letters.entry import DeadLetterEntry
from topicserve.cli.errors import UsageError
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import TopicPartition
from topicserve.wire.record_id import canonical_record_id

_PLACES = re.compile(r"([0-9]{1,10}):([0-9]{1,19})(?:-([0-9]{1,19}))?", re.ASCII)


class Places(NamedTuple):
    """Offsets of one partition of the dead-letter topic, both ends included."""

    partition: int
    first: int
    last: int


def add_filter_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; a dead letter is wanted if it fits each flag that is given."""
    parser.add_argument(
        "--reason",
        action="append",
        choices=[reason.value for reason in Reason],
        metavar="REASON",
        help="only with this topicserve-reason; may be repeated",
    )
    parser.add_argument(
        "--servable",
        action="append",
        metavar="NAME",
        help="only records whose ce_servable names it; may be repeated",
    )
    parser.add_argument(
        "--since",
        type=time_or_age("--since"),
        metavar="TIME",
        help="only those given up at this time or later: RFC 3339, or an age such as 90s, 15m, 2h",
    )
    parser.add_argument(
        "--until", type=time_or_age("--until"), metavar="TIME", help="only those given up before it"
    )
    parser.add_argument(
        "--offset",
        action="append",
        type=read_places,
        metavar="P:N[-M]",
        help="only at offset N, or N to M, of partition P of the dead-letter topic; repeatable",
    )
    parser.add_argument(
        "--id",
        action="append",
        type=_record_id,
        metavar="ID",
        help="only the record with this id; may be repeated",
    )


class Filter:
    """Tells which dead letters the flags ask for.

    Values of one flag are alternatives; different flags must all hold. Times are those at which
    records were given up, to the millisecond.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._reasons = frozenset(arguments.reason or ())
        self._servables = frozenset(arguments.servable or ())
        self._ids = frozenset(arguments.id or ())
        self._places = tuple(arguments.offset or ())
        self._since_ms = _milliseconds(arguments.since)
        self._until_ms = _milliseconds(arguments.until)

    def wants(self, entry: DeadLetterEntry) -> bool:
        """Return whether this dead letter fits every flag."""
        time_ms = entry.record.timestamp_ms
        return (
            (not self._reasons or entry.reason in self._reasons)
            and (not self._servables or entry.servable in self._servables)
            and (self._since_ms is None or time_ms >= self._since_ms)
            and (self._until_ms is None or time_ms < self._until_ms)
            and (not self._places or any(_is_at(entry, places) for places in self._places))
            and (not self._ids or entry.record_id in self._ids)
        )


def check_filters(arguments: argparse.Namespace, log: Mapping[TopicPartition, LogOffsets]) -> None:
    """Raise UsageError for flags that no dead letter of the topic can fit."""
    since, until = arguments.since, arguments.until
    if since is not None and until is not None and since >= until:
        raise UsageError("--since, --until: no time is at or after the first and before the second")
    known = {partition.partition: offsets for partition, offsets in log.items()}
    for places in arguments.offset or ():
        if places.partition not in known:
            raise UsageError(
                f"--offset: {arguments.topic} has no partition {places.partition}, only "
                f"{', '.join(map(str, sorted(known)))}"
            )
        start, end = known[places.partition]
        if places.last < start or places.first >= end:
            has = f"offsets {start} to {end - 1}" if end > start else "no records"
            raise UsageError(
                f"--offset: partition {places.partition} of {arguments.topic} has {has}, found "
                f"{places.first}" + (f"-{places.last}" if places.last != places.first else "")
            )


def read_places(typed: str) -> Places:
    """Return which offsets P:N or P:N-M stands for.

    UsageError for anything else, digits of other scripts included.
    """
    found = _PLACES.fullmatch(typed)
    if found is None:
        wanted = "must be PARTITION:OFFSET or PARTITION:FIRST-LAST"
        raise UsageError(f"--offset: {wanted}, found {typed[:64]!r}")
    partition, first, last = found.groups()
    places = Places(int(partition), int(first), int(last or first))
    if places.first > places.last:
        raise UsageError(f"--offset: {typed} is empty; the first offset comes first")
    return places


def _record_id(typed: str) -> str:
    try:
        return canonical_record_id(typed)
    except ValueError as error:
        raise UsageError(f"--id: {error}") from None


def _milliseconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp() * 1000


def _is_at(entry: DeadLetterEntry, places: Places) -> bool:
    record = entry.record
    return record.partition == places.partition and places.first <= record.offset <= places.last
