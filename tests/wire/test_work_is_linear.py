"""What a record asks for grows with its size, and no faster: counted in calls, not in time."""

import contextlib
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType

import pytest

from tests.support.stages.heavy_open_inference import OPEN_INFERENCE
from tests.support.stages.heavy_records import HEAVY, Heavy
from tests.support.stages.records import PARTITION, ROUTE, a_kafka_record
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import decode_input
from topicserve.wire.json_codec.text import LARGE_BYTES
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.request import Request

pytestmark = pytest.mark.slow
ALL = {**HEAVY, **OPEN_INFERENCE}
# What a body costs whatever its size, such as an error's message.
FIXED_CALLS = 300
SMALL, LARGE = LARGE_BYTES + 1024, 2 * (LARGE_BYTES + 1024)


def calls_of(action: Callable[[], object]) -> int:
    """Return how many functions are called, C's own included."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def a_request(heavy: Heavy) -> Request:
    """Decode a record; raises InvalidRecordError."""
    content_type = [("content-type", heavy.content_type.encode())]
    record = a_kafka_record(1, value=heavy.value, headers=content_type)
    return Request(record, PartitionAssignment(PARTITION), 1, 0.0, decode_input(record), ROUTE)


def decoding_of(heavy: Heavy) -> tuple[int, list[Request]]:
    """Return the calls of decoding a record, and the request if it is one."""
    found: list[Request] = []

    def decode() -> None:
        with contextlib.suppress(InvalidRecordError):
            found[:] = [a_request(heavy)]

    decode()  # the first record of a kind imports what reads it
    return calls_of(decode), found


def work_of(heavy: Heavy) -> tuple[int, int]:
    """Return the calls of decoding a record, and of making its columns."""
    decoding, found = decoding_of(heavy)
    if not found:
        return decoding, 0
    build_feeds(found, heavy.signature)  # as in decoding_of
    return decoding, calls_of(lambda: build_feeds(found, heavy.signature))


@pytest.mark.parametrize("name", ALL)
def test_work_grows_with_the_size_of_a_record_and_no_faster(name: str) -> None:
    """Twice the bytes are at most twice the calls, in decoding and in making columns."""
    once, twice = (work_of(ALL[name](size)) for size in (SMALL, LARGE))

    for few, many in zip(once, twice, strict=True):
        assert many <= 2.1 * few + FIXED_CALLS


# Each of these tokens, which JSON lacks, is replaced.
_WITH_TOKENS = ("NaN", "Infinity", "backslashes")


@pytest.mark.parametrize(
    "name",
    [
        *[n for n in HEAVY if "protobuf" not in n and not any(one in n for one in _WITH_TOKENS)],
        *[n for n in OPEN_INFERENCE if "many" not in n],
    ],
)
def test_a_large_body_is_decoded_without_a_call_for_each_item(name: str) -> None:
    """The polling thread decodes: what each row costs is paid when its batch is built."""
    decoding, _ = decoding_of(ALL[name](LARGE))

    assert decoding < FIXED_CALLS


@pytest.mark.parametrize(
    ("name", "item_bytes", "calls"),
    [
        ("examples, columns", 2, 4),
        ("examples, column of lists", 4, 2),
        ("examples, rows of a number", 8, 6),
        ("examples, rows of different features", 11, 24),
        ("examples, each row with a name of its own", 11, 24),
        ("protobuf, examples of packed integers", 1, 1),
        ("protobuf, examples of different integers", 2, 1),
        ("JSON, lists 60 deep, with an escape in each", 2, 1),
        ("JSON, base64 in lists 60 deep", 2, 1),
        ("Open Inference JSON, integers", 2, 0),
        ("Open Inference JSON, lists 60 deep", 2, 1),
        ("Open Inference JSON, strings in lists 60 deep", 2, 1),
        ("Open Inference JSON, empty strings", 3, 4),
        ("Open Inference JSON, base64", 7, 8),
        ("Open Inference protobuf, integers", 1, 0),
        ("Open Inference protobuf, strings", 4, 3),
        ("Open Inference protobuf, raw strings", 6, 5),
    ],
)
def test_columns_are_made_with_few_calls_for_each_item(
    name: str, item_bytes: int, calls: int
) -> None:
    """A record of a megabyte may have a million items."""
    heavy = ALL[name](LARGE)
    _, found = decoding_of(heavy)
    build_feeds(found, heavy.signature)  # as in decoding_of

    made = calls_of(lambda: build_feeds(found, heavy.signature))

    assert made < calls * len(heavy.value) / item_bytes + FIXED_CALLS


@pytest.mark.parametrize(
    "name", ["JSON, backslashes without an end", "JSON, lists in lists, 500,000 deep"]
)
def test_no_pattern_remembers_what_it_has_passed(name: str) -> None:
    """A pattern that may go back takes 128 bytes for each escape or bracket on its way."""
    heavy = ALL[name](LARGE)
    tracemalloc.start()
    try:
        decoding_of(heavy)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 20 * len(heavy.value)
