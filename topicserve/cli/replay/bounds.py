"""The range of a replay: what was typed, and the offsets of each partition that it stands for.

A start is included, an end is not. Offsets of transaction markers and of what compaction deleted
count as part of a range, and hold no record.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from topicserve.backends.broker import LogOffsets, OffsetsAdmin
from topicserve.cli import connection
from topicserve.cli.argument_types import read_time_or_age
from topicserve.cli.errors import UsageError
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.replay.progress_note import OffsetRange, Ranges

_PLACE = re.compile(r"([0-9]{1,10}):([0-9]{1,19})", re.ASCII)
_WANTED = (
    "must be {word}, RFC 3339 with an offset, such as 2026-11-28T06:00:00Z, an age such as 7d, "
    "or offsets such as 0:17,1:20 (PARTITION:OFFSET)"
)


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range: a time, offsets by partition, or the end of the log itself."""

    typed: str
    time: datetime | None = None
    offsets: Mapping[int, int] | None = None


def read_bound(flag: str, word: str, typed: str) -> Bound:
    """Return what was typed; `word` stands for the end of the log: earliest or latest."""
    if typed == word:
        return Bound(typed)
    places = [_PLACE.fullmatch(one) for one in typed.split(",")]
    found = [place for place in places if place is not None]
    if len(found) == len(places):
        offsets = {int(place[1]): int(place[2]) for place in found}
        if len(offsets) < len(found):
            raise UsageError(f"{flag}: names a partition twice")
        return Bound(typed, offsets=offsets)
    return Bound(typed, time=read_time_or_age(flag, typed, _WANTED.format(word=word)))


class RangeFinder:
    """Turns two bounds into a range of offsets a partition."""

    def __init__(self, start: Bound, end: Bound, log: Mapping[TopicPartition, LogOffsets]) -> None:
        """`log` has the offsets of each partition of the topic."""
        self._start, self._end, self._log = start, end, log
        self.warnings: list[str] = []

    def partitions(self) -> list[TopicPartition]:
        """Return the partitions that are meant: those that a bound names, or else all.

        UsageError where the two bounds name different ones, or one that the topic does not have.
        """
        named = [bound.offsets.keys() for bound in (self._start, self._end) if bound.offsets]
        if not named:
            return sorted(self._log)
        if any(one != named[0] for one in named):
            raise UsageError("--from, --to: must name the same partitions")
        known = {partition.partition: partition for partition in self._log}
        for number in named[0]:
            if number not in known:
                raise UsageError(f"--from, --to: the topic has no partition {number}")
        return [known[number] for number in sorted(named[0])]

    def find(self, admin: OffsetsAdmin, partitions: Iterable[TopicPartition]) -> Ranges:
        """Return their ranges, some of which may be empty: the start is included, the end is not.

        UsageError for offsets that the topic does not have, or not any more. A start whose time is
        before what retention left is a warning only: the range begins where the topic does. Asks
        the broker.
        """
        log = {partition: self._log[partition] for partition in partitions}
        if not log:
            return {}
        starts, ends = self._starts(admin, log), self._ends(admin, log)
        for partition, start in starts.items():
            if start > ends[partition] and self._start.offsets and self._end.offsets:
                raise UsageError(
                    f"--to: partition {partition.partition}: {ends[partition]} is before --from"
                )
        return {p: OffsetRange(start, max(start, ends[p])) for p, start in starts.items()}

    def check_any(self, ranges: Ranges) -> None:
        """Raise UsageError where there is nothing to read."""
        if any(own.length for own in ranges.values()):
            return
        log = {partition: self._log[partition] for partition in ranges}
        has = ", ".join(_described(log))
        problem = f"--from, --to: there is no record in this range; the topic has {has}"
        if any(offsets.start for offsets in log.values()):
            problem += "; what was before was deleted by retention"
        raise UsageError(problem)

    def log_start(self, partition: TopicPartition) -> int:
        """Return the first offset that a partition still has."""
        return self._log[partition].start

    def _starts(
        self, admin: OffsetsAdmin, log: Mapping[TopicPartition, LogOffsets]
    ) -> dict[TopicPartition, int]:
        bound = self._start
        if bound.offsets is not None:
            self._check("--from", bound.offsets, log)
            return {p: bound.offsets[p.partition] for p in log}
        if bound.time is None:
            return {p: offsets.start for p, offsets in log.items()}
        found = _at_time(admin, bound.time, log)
        self.warnings += [
            f"partition {p.partition} begins at offset {log[p].start}: records before it were "
            "deleted by retention, and may have been part of the range"
            for p, offset in found.items()
            if offset == log[p].start > 0
        ]
        return found

    def _ends(
        self, admin: OffsetsAdmin, log: Mapping[TopicPartition, LogOffsets]
    ) -> dict[TopicPartition, int]:
        bound = self._end
        if bound.offsets is not None:
            self._check("--to", bound.offsets, log)
            return {p: bound.offsets[p.partition] for p in log}
        if bound.time is None:
            return {p: offsets.end for p, offsets in log.items()}
        return _at_time(admin, bound.time, log)

    def _check(
        self, flag: str, named: Mapping[int, int], log: Mapping[TopicPartition, LogOffsets]
    ) -> None:
        for partition, offsets in log.items():
            offset = named[partition.partition]
            where = f"{flag}: partition {partition.partition}"
            if offset < offsets.start:
                raise UsageError(
                    f"{where}: records before offset {offsets.start} were deleted by retention; "
                    f"found {offset}"
                )
            if offset > offsets.end:
                raise UsageError(f"{where}: ends at offset {offsets.end}; found {offset}")


def _at_time(
    admin: OffsetsAdmin, time: datetime, log: Mapping[TopicPartition, LogOffsets]
) -> dict[TopicPartition, int]:
    found = admin.offsets_at_time(list(log), int(time.timestamp() * 1000), connection.REACH_SECONDS)
    return {p: offsets.end if found[p] is None else found[p] or 0 for p, offsets in log.items()}


def _described(log: Mapping[TopicPartition, LogOffsets]) -> Iterator[str]:
    for partition, offsets in log.items():
        if offsets.end == offsets.start:
            yield f"none in partition {partition.partition}"
        else:
            yield f"offsets {partition.partition}:{offsets.start} to {offsets.end - 1}"
