"""How many functions one record goes through, from the poll that returns it to its commit."""

import re
import sys
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import topicserve
from tests.worker.test_pipeline import World, records
from topicserve.wire.input_record import InputRecord
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import (
    Batch,
    BatchPrediction,
    CallOutput,
    Polled,
    Rejection,
)

PACKAGE = Path(topicserve.__file__).parent
PAGE = PACKAGE.parent / "docs/architecture.md"
MADE_OF_A_RECORD = (
    *(KafkaRecord, InputRecord, Polled, Rejection, PartitionAssignment),
    *(Batch, CallOutput, BatchPrediction, OutgoingBatch, OutgoingRecord),
)
# The worker's functions and files: what is reached today, to be lowered and not raised.
MOST = {Guarantee.AT_LEAST_ONCE: (54, 16), Guarantee.EXACTLY_ONCE: (56, 18)}


class Tracer:
    """Notes the package's functions that are called with anything that is made of a record.

    That is: with one as an argument, in a collection, or with offsets by partition. Lambdas and
    comprehensions are part of the function around them.
    """

    def __init__(self) -> None:
        self.on = False
        self.seen: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if not self.on or event != "call" or not code.co_filename.startswith(str(PACKAGE)):
            return
        if code.co_name.startswith("<"):
            return
        count = code.co_argcount + code.co_kwonlyargcount
        if any(_is_of_record(frame.f_locals.get(name)) for name in code.co_varnames[:count]):
            file = str(Path(code.co_filename).relative_to(PACKAGE))
            self.seen.add((file, code.co_qualname.replace(".<locals>", "")))

    def in_worker(self) -> dict[str, list[str]]:
        """Return the worker's functions by file."""
        found: dict[str, list[str]] = {}
        for file, function in sorted(self.seen):
            if file.startswith("worker/"):
                found.setdefault(file.removeprefix("worker/"), []).append(function)
        return found


def _is_of_record(value: object) -> bool:
    if isinstance(value, MADE_OF_A_RECORD):
        return True
    if isinstance(value, Mapping):
        return any(isinstance(key, (TopicPartition, PartitionAssignment)) for key in value)
    if isinstance(value, Collection) and not isinstance(value, (str, bytes)):
        return any(isinstance(one, MADE_OF_A_RECORD) for one in value)
    return False


def way_of_second_record(guarantee: Guarantee) -> dict[str, list[str]]:
    """Return what a record goes through after another one of its partition was committed."""
    first, second = records(4)[::3]  # of one partition
    world, tracer = World([first, second], guarantee), Tracer()

    def poll() -> None:
        if world.polls == 1:
            world.log.records.remove(second)
        elif not tracer.on and world.log.committed.get(TopicPartition("in", 0)) == 1:
            world.log.records.append(second)
            tracer.on = True

    def finish(timeout_seconds: float) -> bool:
        is_finished = delivery_finish(timeout_seconds)
        tracer.on = False  # all is committed
        return is_finished

    world.each_poll = poll  # type: ignore[method-assign]
    delivery_finish = world.stages.output.delivery.finish
    world.stages.output.delivery.finish = finish  # type: ignore[method-assign]
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    try:
        world.run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert world.log.committed[TopicPartition("in", 0)] == 4
    return tracer.in_worker()


@pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda found: found.value)
def test_a_record_goes_through_few_functions(guarantee: Guarantee) -> None:
    """In the worker, from poll to commit, on the broker in memory."""
    way = way_of_second_record(guarantee)

    for file, functions in way.items():
        print(f"{file}: {', '.join(functions)}")
    total = sum(map(len, way.values()))
    print(guarantee.value, total, "functions in", len(way), "files")
    assert total <= MOST[guarantee][0]
    assert len(way) <= MOST[guarantee][1]


def test_the_page_lists_what_a_record_goes_through() -> None:
    """Every function of the traced way stands in the table of docs/architecture.md."""
    rows = re.findall(
        r"^\| `topicserve/worker/([a-z_/]+\.py)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE
    )
    listed = {file: re.findall(r"`([^`]+)`", functions) for file, functions in rows}

    for file, functions in way_of_second_record(Guarantee.AT_LEAST_ONCE).items():
        assert set(functions) <= set(listed.get(file, ())), file
    most = MOST[Guarantee.AT_LEAST_ONCE]
    assert (sum(map(len, listed.values())), len(listed)) == most
