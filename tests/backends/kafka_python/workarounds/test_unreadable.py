import contextlib
import struct
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import errors
from kafka.record.memory_records import MemoryRecords

from tests.support.kafka.record_batches import a_payload, a_payload_at
from topicserve.backends.kafka_python.workarounds.decompress import decompress
from topicserve.backends.kafka_python.workarounds.unreadable import MAX_FETCHES, ReadableRecords
from topicserve.wire.kafka_record import UnreadableHeaders

PARTITION = kafka.TopicPartition("in", 0)


class Fetching:
    """Fetches one partition's log as kafka-python does, from its position on, to its end."""

    at_once = False

    def __init__(self, *payloads: bytes) -> None:
        self.end = 0
        self.max_bytes = 1 << 20
        self.batches: list[tuple[int, bytes]] = []
        for payload in payloads:
            (last_delta,) = struct.unpack_from(">i", payload, 23)
            self.batches.append((self.end, struct.pack(">q", self.end) + payload[8:]))
            self.end += max(last_delta, 0) + 1
        self.position = 0
        self.fetches = 0

    def spoil(self, number: int, at: int, content: bytes) -> None:
        """Alter a batch, on the disk."""
        offset, batch = self.batches[number]
        self.batches[number] = offset, batch[:at] + content + batch[at + len(content) :]

    def read(self, limit: int = 100) -> list[Any]:
        """Return all records; never more than `limit` fetches."""
        found: list[Any] = []
        counts: dict[tuple[Any, int], int] = {}
        kind = type(
            "Records",
            (ReadableRecords,),
            {"_fetches": counts, "_max_bytes": self.max_bytes, "_at_once": self.at_once},
        )
        while self.position < self.end:
            self.fetches += 1
            assert self.fetches <= limit
            records = kind(self.position, PARTITION, MemoryRecords(self._answer()))
            while records:
                found += records.take(3)
            self.position = records.next_fetch_offset
        return found

    def _answer(self) -> bytes:
        later = [offset for offset, _ in self.batches if offset > self.position]
        skipped = len(self.batches) - len(later) - 1
        return b"".join(batch for _, batch in self.batches[skipped:])


@pytest.fixture(autouse=True, scope="module", params=[False, True], ids=["python", "compiled"])
def at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have both codecs read: what is seen must be the same."""
    if request.param:
        pytest.importorskip("aiokafka")
    Fetching.at_once = request.param
    yield
    Fetching.at_once = False


def values(records: Sequence[Any]) -> list[bytes | None]:
    """Return the values of records."""
    return [record.value for record in records]


def test_what_can_be_read_is_read_as_ever() -> None:
    """Batch by batch, once."""
    fetching = Fetching(a_payload([b"a", b"b"]), a_payload([b"c"]))

    assert values(fetching.read()) == [b"a", b"b", b"c"]
    assert fetching.fetches == 1


@pytest.mark.parametrize(
    ("at", "content"),
    [(70, b"\xff"), (21, b"\x00\x07"), (17, b"\0\0\0\0"), (21, b"\x00\x01")],
    ids=["altered", "unknown codec", "checksum", "gzip that is none"],
)
def test_a_corrupt_batch_is_passed_over_after_it_was_fetched_again(at: int, content: bytes) -> None:
    """As one record at its last offset, which names all of its offsets; the others are read."""
    fetching = Fetching(a_payload([b"a"]), a_payload([b"b", b"c", b"d"]), a_payload([b"e"]))
    fetching.spoil(1, at, content)

    records = fetching.read()

    assert values(records) == [b"a", None, b"e"]
    assert [record.offset for record in records] == [0, 3, 4]
    headers = records[1].headers
    assert isinstance(headers, UnreadableHeaders)
    assert headers.first_offset == 1
    assert headers.problem.startswith("offsets 1 to 3 of in-0 cannot be read: ")
    assert fetching.fetches == MAX_FETCHES


def test_a_batch_that_was_altered_on_its_way_is_read() -> None:
    """The second time it comes as it is."""
    fetching = Fetching(a_payload([b"a", b"b"]))
    whole = fetching.batches[0]
    fetching.spoil(0, 70, b"\xff")
    answer = fetching._answer

    def heal() -> bytes:
        answered = answer()
        fetching.batches[0] = whole
        return answered

    fetching._answer = heal  # type: ignore[method-assign]

    assert values(fetching.read()) == [b"a", b"b"]


@given(
    number=st.integers(0, 2),
    at=st.integers(12, 90),
    content=st.binary(min_size=1, max_size=8),
)
def test_whatever_is_altered_reading_goes_on_and_nothing_altered_is_read(
    number: int, at: int, content: bytes
) -> None:
    """Beyond a batch's offset and length, which the broker itself goes by."""
    written = [[b"aaaa", b"bbbb"], [b"cccc", b"dddd"], [b"eeee", b"ffff"]]
    fetching = Fetching(*map(a_payload, written))
    before = fetching.batches[number]
    fetching.spoil(number, min(at, len(before[1]) - 1), content)
    fetching.batches[number] = before[0], fetching.batches[number][1][: len(before[1])]

    records = fetching.read()

    read = [record for record in records if not isinstance(record.headers, UnreadableHeaders)]
    good = [value for index, batch in enumerate(written) if index != number for value in batch]
    assert set(good) <= set(values(read)) <= {value for batch in written for value in batch}
    assert [record.offset for record in records] == sorted({record.offset for record in records})


def test_a_library_that_is_missing_is_told() -> None:
    """It is for the operator to install; the batch is fine."""
    fetching = Fetching(a_payload([b"a"]))
    kind = type("Records", (ReadableRecords,), {"_fetches": {}})
    records = kind(0, PARTITION, MemoryRecords(fetching.batches[0][1]))
    error = errors.UnsupportedCodecError("Libraries for lz4 compression codec not found")

    def missing(*_: Any) -> Any:
        raise error
        yield

    records.record_iterator = records._unpack_records(PARTITION, _Failing(missing), None, None)
    with pytest.raises(errors.UnsupportedCodecError):
        records.take(1)
    assert not records


class _Failing:
    """Records whose first batch cannot be decoded for want of a library."""

    _next_slice = None

    def __init__(self, fail: Any) -> None:
        self._fail = fail

    def next_batch(self) -> Any:
        return next(self._fail())


CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize("compression", CODECS.values(), ids=CODECS)
def test_a_compressed_batch_within_the_limit_is_read(compression: int) -> None:
    """As it was written, whatever the codec, and of many pieces, too."""
    contents = [b"a", b"b" * 3_000_000, b"c"]
    fetching = Fetching(a_payload(contents, compression=compression))
    fetching.max_bytes = 4_000_000

    assert values(fetching.read()) == contents


@pytest.mark.parametrize("compression", CODECS.values(), ids=CODECS)
def test_a_batch_that_decompresses_to_too_much_is_passed_over(compression: int) -> None:
    """At once, as one record that names its offsets; it takes no more memory than is allowed."""
    bomb = a_payload([bytes(50_000_000), b"b"], compression=compression)
    fetching = Fetching(a_payload([b"a"]), bomb, a_payload([b"d"]))

    tracemalloc.start()
    records = fetching.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert values(records) == [b"a", None, b"d"]
    headers = records[1].headers
    assert isinstance(headers, UnreadableHeaders)
    assert (headers.first_offset, records[1].offset, headers.is_too_large) == (1, 2, True)
    assert "offsets 1 to 2 of in-0 cannot be read" in headers.problem
    assert "more than 1048576 bytes (kafka.max_decompressed_bytes)" in headers.problem
    assert fetching.fetches == 1
    assert peak < 4 * len(bomb) + 8_000_000


@pytest.mark.parametrize("compression", CODECS.values(), ids=CODECS)
@given(cut=st.integers(1, 40), at=st.integers(0, 60), octet=st.integers(0, 255))
def test_a_spoilt_stream_ends_in_an_error(compression: int, cut: int, at: int, octet: int) -> None:
    """Whatever was cut off or altered, decompressing ends, within the limit."""
    payload = bytearray(a_payload([b"abc" * 20, b"d" * 2000], compression=compression)[61:])
    payload[at % len(payload)] = octet

    for data in (bytes(payload), bytes(payload[:-cut])):
        with contextlib.suppress(Exception):
            assert len(decompress(compression, data, 100_000)) <= 100_000


GOOD = a_payload([b"good"])


@pytest.mark.parametrize(
    ("deltas", "read"),
    [
        ((200,), [0, 1, 2]),
        ((-1,), [0, 1, 2]),
        ((1, 0), [0, 2, 3]),
        ((0, 0), [0, 1, 2, 3]),
        ((0, 2, 1), [0, 1, 3, 4]),
        ((2**31 - 1, 1, 2), [0, 3, 4]),
    ],
)
def test_records_at_offsets_that_cannot_be_theirs_are_passed_over(
    deltas: tuple[int, ...], read: list[int]
) -> None:
    """Brokers take them as they are. What is behind them is read, each once, in order."""
    found = Fetching(GOOD, a_payload_at(deltas), GOOD).read()

    assert [record.offset for record in found] == read
    (bad,) = [record for record in found if isinstance(record.headers, UnreadableHeaders)]
    assert bad.offset == len(deltas)
    assert bad.headers.first_offset == read[read.index(bad.offset) - 1] + 1
    assert "a record says offset" in bad.headers.problem


def test_offsets_that_compaction_leaves_out_are_no_fault() -> None:
    """A batch keeps its range when some of its records go."""
    found = Fetching(GOOD, a_payload_at((1, 4), last_delta=5), GOOD).read()

    assert [record.offset for record in found] == [0, 2, 5, 7]
    assert not any(isinstance(record.headers, UnreadableHeaders) for record in found)


@given(st.lists(st.lists(st.integers(-5, 30), min_size=1, max_size=6), min_size=1, max_size=4))
def test_no_offsets_keep_good_records_from_being_read(hostile: list[list[int]]) -> None:
    """All records that can be read are, and offsets rise, whatever producers wrote between."""
    batches = [batch for deltas in hostile for batch in (a_payload_at(deltas), GOOD)]
    fetching = Fetching(*batches)

    offsets = [record.offset for record in fetching.read()]

    good = [at for at, batch in fetching.batches if batch[8:] == GOOD[8:]]
    assert set(good) <= set(offsets)
    assert offsets == sorted(set(offsets))
    assert offsets[-1] == fetching.end - 1
