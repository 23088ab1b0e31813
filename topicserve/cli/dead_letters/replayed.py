"""Which offsets of a partition were replayed: kept beside the offset that a group commits.

The committed offset is where the first dead letter is that was not replayed, as Kafka's tools show
it. What was replayed behind it stands in the text that Kafka keeps with the offset: pairs of how
many offsets were left out and how many were replayed, `3+20,1+5`, compressed where that is long.
"""

import base64
import binascii
import zlib
from bisect import bisect_right

from topicserve.backends.broker import MAX_OFFSET_TEXT_BYTES, OffsetAndMetadata, metadata_of
from topicserve.cli.errors import UsageError

_PLAIN = "replayed1 "
_COMPRESSED = "replayed1z "
_MAX_PLAIN_BYTES = 512
_MAX_UNCOMPRESSED_BYTES = 1024 * 1024


class ReplayedOffsets:
    """Everything below `base`, and ranges behind it.

    So that a replay with filters, or one that was killed, can be followed by another that replays
    the rest and nothing twice. One thread uses it.
    """

    def __init__(self, base: int, ranges: list[tuple[int, int]] | None = None) -> None:
        self.base = base
        self._ranges = ranges or []  # sorted, with offsets between them that were not replayed

    @classmethod
    def of(cls, committed: int | None, start: int) -> "ReplayedOffsets":
        """Return what a group has committed; `start` is the log's first offset.

        Raises UsageError for a text that is none of ours: the group is another program's.
        """
        if committed is None:
            return cls(start)
        text = metadata_of(committed)
        replayed = cls(int(committed), _decode(text, int(committed)))
        replayed._add(0, start)  # retention has deleted what is before
        return replayed

    def copy(self) -> "ReplayedOffsets":
        """Return another one with the same content."""
        return ReplayedOffsets(self.base, list(self._ranges))

    def __contains__(self, offset: int) -> bool:
        """Return whether the record at this offset was replayed."""
        if offset < self.base:
            return True
        index = bisect_right(self._ranges, (offset, 2**63)) - 1
        return index >= 0 and offset < self._ranges[index][1]

    def add(self, offset: int, previous: int) -> None:
        """Add a record; `previous` is the offset of the record before it in the partition."""
        # Between two records are transaction markers, or what compaction has deleted.
        self._add(previous + 1 if previous in self else offset, offset + 1)

    def committed(self) -> OffsetAndMetadata:
        """Return what to commit. Raises UsageError where the text is too long for Kafka."""
        text = _encode(self.base, self._ranges)
        if len(text) > MAX_OFFSET_TEXT_BYTES:
            raise UsageError(
                "the filters leave out too many dead letters between those that are replayed: "
                f"what was replayed does not fit into the {MAX_OFFSET_TEXT_BYTES} bytes that Kafka "
                "keeps beside an offset; replay with fewer filters, or with another --group"
            )
        return OffsetAndMetadata(self.base, text)

    def _add(self, start: int, end: int) -> None:
        if end <= self.base:
            return
        if start <= self.base:
            self.base = end
        else:
            self._insert(start, end)
        while self._ranges and self._ranges[0][0] <= self.base:
            self.base = max(self.base, self._ranges.pop(0)[1])

    def _insert(self, start: int, end: int) -> None:
        ranges = self._ranges
        first = bisect_right(ranges, (start, 2**63))
        if first and ranges[first - 1][1] >= start:
            first -= 1
        last = first
        while last < len(ranges) and ranges[last][0] <= end:
            start, end = min(start, ranges[last][0]), max(end, ranges[last][1])
            last += 1
        ranges[first:last] = [(start, end)]


def _encode(base: int, ranges: list[tuple[int, int]]) -> str:
    pairs, position = [], base
    for start, end in ranges:
        pairs.append(f"{start - position}+{end - start}")
        position = end
    text = ",".join(pairs)
    if len(text) <= _MAX_PLAIN_BYTES:
        return f"{_PLAIN}{text}"
    return _COMPRESSED + base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def _decode(text: str, base: int) -> list[tuple[int, int]]:
    try:
        if text.startswith(_COMPRESSED):
            compressed = base64.b85decode(text.removeprefix(_COMPRESSED))
            decompressor = zlib.decompressobj()
            pairs = decompressor.decompress(compressed, _MAX_UNCOMPRESSED_BYTES).decode()
            if not decompressor.eof:
                raise ValueError("is cut off")
        elif text.startswith(_PLAIN):
            pairs = text.removeprefix(_PLAIN)
        else:
            raise ValueError("a text that no replay wrote")
        ranges, position = [], base
        for pair in filter(None, pairs.split(",")):
            gap, count = map(int, pair.split("+"))
            if gap <= 0 or count <= 0:
                raise ValueError("no range")
            ranges.append((position + gap, position + gap + count))
            position += gap + count
    except (ValueError, zlib.error, binascii.Error):
        raise UsageError(
            "--group: this group has committed offsets that are not a replay's; name another one"
        ) from None
    return ranges
