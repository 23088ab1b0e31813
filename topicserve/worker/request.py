"""What flows from one stage to the next."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import msgspec
from numpy.typing import NDArray

from topicserve.wire.dead_letter import Reason
from topicserve.wire.input_record import InputRecord
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.offsets import Slot


class Polled(msgspec.Struct, frozen=True, gc=False):
    """A record under way: it stays in its slot's account until it is published or given up."""

    record: KafkaRecord
    slot: Slot
    size_bytes: int
    polled_at: float


class Route(msgspec.Struct, frozen=True, gc=False):
    """Which version (or label, or else the default) of which servable, and which signature."""

    servable: str
    version: int | None
    label: str | None
    signature_name: str
    is_suspect: bool = False
    """Whether the records may have ended a worker, so that they share no batch with others."""
    is_canary: bool = False
    """The record named no version: the default answers where the canary's is not available."""


class Request(Polled, frozen=True, gc=False):
    """A polled record that was understood, and where it goes."""

    input: InputRecord
    route: Route


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A record whose own fault it is that it gets no result."""

    polled: Polled
    reason: Reason
    error: Exception

    def __post_init__(self) -> None:
        # A traceback holds the frames of the stage, and with them the whole batch, this rejection
        # included: a cycle that lives until a collection, or for ever, since this is not tracked.
        self.error.__traceback__ = self.error.__cause__ = self.error.__context__ = None


@dataclass(slots=True)
class Batch:
    """Records predicted together."""

    route: Route
    epoch: int
    requests: list[Request]
    rejections: list[Rejection]
    """Records that were rejected on their way here, with the batch for their dead letters alone."""
    rows: int
    waited_seconds: float
    returns_before: int = 0
    """How often batches of its lane had come back to the batcher when it was taken."""
    turns: dict[Slot, int] = field(default_factory=dict)
    """By partition, how many batches with records of it were cut before (see PublishOrder)."""
    returns: object = None
    """Keeps the count of its lane's returns alive until this batch is settled."""

    def share_of(self, slots: Collection[Slot] | None) -> "Batch":
        """Return the batch with the records of these slots alone; None stands for all."""
        if slots is None:
            return self
        return replace(
            self,
            requests=[request for request in self.requests if request.slot in slots],
            rejections=[one for one in self.rejections if one.polled.slot in slots],
        )


@dataclass(slots=True)
class Answers:
    """Records that were predicted in one call, and the output columns with all their rows."""

    requests: Sequence[Request]
    outputs: Mapping[str, NDArray[Any]]
    counts: Sequence[int] | None = None
    """How many rows each of them has; None: one."""
    whole: frozenset[str] = frozenset()
    """Outputs that have no rows: each record gets them as they are."""
    version: int | None = None
    """Which version answered, where that is not the batch's."""

    def each(self) -> Iterator["Answers"]:
        """Yield what each record was answered, with its own rows alone."""
        start = 0
        for request, count in zip(self.requests, self.counts or repeat(1), strict=False):
            rows = slice(start, start + count)
            start += count
            own = {n: c if n in self.whole else c[rows] for n, c in self.outputs.items()}
            yield Answers([request], own, [count], self.whole, self.version)


@dataclass(slots=True)
class Predicted:
    """What became of a batch: every request is in exactly one of the answers or rejections."""

    servable: str
    version: int
    signature_name: str
    answers: list[Answers]
    rejections: list[Rejection]

    def version_of(self, answers: Answers) -> int:
        """Return which version gave these answers."""
        return self.version if answers.version is None else answers.version

    def answered(self) -> list[Request]:
        """Return the requests that were answered."""
        return [request for answers in self.answers for request in answers.requests]
