"""What flows from one stage to the next.

Plain objects that one thread has at a time: a stage fills in what it found and hands them on.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
from numpy.typing import NDArray

from topicserve.backends.references.header import Reference
from topicserve.wire.bodies.asked import Unasked
from topicserve.wire.dead_letter import Reason
from topicserve.wire.input_record import InputRecord
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.offsets.assignment import PartitionAssignment


class Polled(msgspec.Struct, frozen=True, gc=False):
    """A record in progress: its assignment counts it until it is published or given up."""

    record: KafkaRecord
    assignment: PartitionAssignment
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


NOWHERE = Route("", None, None, "")
"""Of what is not predicted, or not yet: where a record goes may stand in a body to be fetched."""


class Request(Polled, frozen=True, gc=False):
    """A polled record that was understood, and where it goes.

    Where the body lies elsewhere and was not fetched yet, `input.content` is a Reference.
    """

    input: InputRecord
    route: Route

    @property
    def reference(self) -> Reference | None:
        """Return where the body lies that is to be fetched; None where it is here."""
        content = self.input.content
        return content if type(content) is Reference else None

    @property
    def is_unasked(self) -> bool:
        """Return whether a body of a user's own is still to be asked where it goes."""
        return type(self.input.target) is Unasked


class HeldBody:
    """Lives as long as a fetched body does, so that these can be counted."""

    __slots__ = ("__weakref__",)


class FetchedRequest(Request, frozen=True, gc=False):
    """A request whose body was fetched."""

    origin: Request
    """The same without the body."""
    held: HeldBody


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A record whose own fault it is that it gets no result."""

    polled: Polled
    reason: Reason
    error: Exception

    def __post_init__(self) -> None:
        # A traceback holds the frames of the stage, and with them the whole batch, this rejection
        # included: a cycle that lives until a collection, or for ever, since this is not tracked.
        self.error.__traceback__ = self.error.__cause__ = self.error.__context__ = None


class EndedBy(Enum):
    """Why a batch has no more rows; the values are labels of a metric."""

    ROWS = "rows"
    """It has max_batch_size rows, or the next record would have given it more."""
    LIMIT = "limit"
    """It has as many rows as a batch may have for now: fewer than max_batch_size, because of the
    target latency, of what rows cost the servable, or of the size of results, which the first
    batches of a route have to show."""
    BYTES = "bytes"
    """The next record would have made it larger than max_batch_bytes."""
    TIMEOUT = "timeout"
    """batch_timeout_seconds were over."""
    GATHERED = "gathered"
    """No more had come when a thread was free to take it."""


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
    turns: dict[PartitionAssignment, int] = field(default_factory=dict)
    """By partition, how many batches with records of it were cut before (see PublishOrder)."""
    returns: object = None
    """Keeps the count of its lane's returns alive until this batch is settled."""
    ended_by: EndedBy = EndedBy.GATHERED
    left: Sequence[Request] = ()
    """Records behind the others that were too much for one prediction: they go back."""
    cost: float = 0.0
    """What the servable says that the others take of a batch; 0 where it says nothing."""

    def leave(self, first: Request) -> None:
        """Part with a record and all behind it."""
        start = next(i for i, request in enumerate(self.requests) if request is first)
        self.requests, self.left = self.requests[:start], self.requests[start:]
        self.rows -= sum(request.input.rows for request in self.left)

    def rest(self) -> "Batch":
        """Return a batch of what was left."""
        return replace(self, requests=list(self.left), left=(), rejections=[], cost=0.0)

    def alone(self, request: Request) -> "Batch":
        """Return one record of the batch as a batch, to be predicted in its place."""
        return replace(
            self,
            requests=[request],
            left=(),
            rejections=[],
            rows=request.input.rows,
            waited_seconds=0.0,
        )

    def whole(self) -> "Batch":
        """Return the batch as it was cut."""
        return replace(self, requests=[*self.requests, *self.left], left=()) if self.left else self

    def share_of(self, assignments: Collection[PartitionAssignment]) -> "Batch":
        """Return the batch with the records of these assignments alone."""
        return replace(
            self,
            requests=[request for request in self.requests if request.assignment in assignments],
            left=[request for request in self.left if request.assignment in assignments],
            rejections=[one for one in self.rejections if one.polled.assignment in assignments],
        )


class Trial(NamedTuple):
    """A version that another one stands in for: on probation after a swap, or a canary's."""

    name: str
    version: int


class Evidence(NamedTuple):
    """What a result says about versions on probation, once it is published."""

    answered: frozenset[Trial]
    """Those that took part in it."""
    failed: frozenset[Trial] = frozenset()
    """Those in whose place the version before took part, since they had failed."""
    canary: Trial | None = None
    """The version that answered a canary's record; it is on probation only if named above."""

    @property
    def replaceable(self) -> frozenset[Trial]:
        """Return the versions without which a refused result is predicted again."""
        return self.answered if self.canary is None else self.answered | {self.canary}


@dataclass(slots=True)
class CallOutput:
    """Records that were predicted in one call, and the output columns with all their rows."""

    requests: Sequence[Request]
    outputs: Mapping[str, NDArray[Any]]
    counts: Sequence[int] | None = None
    """How many rows each of them has; None: one."""
    whole: frozenset[str] = frozenset()
    """Outputs that have no rows: each record gets them as they are."""
    version: int | None = None
    """Which version answered, where that is not the batch's."""
    evidence: Evidence | None = None
    """None where no version on probation and no canary had to do with it."""
    is_shared: bool = False
    """Whether the call had other records beside these."""

    def each(self) -> Iterator["CallOutput"]:
        """Yield what each record was answered, with its own rows alone."""
        start = 0
        for request, count in zip(self.requests, self.counts or repeat(1), strict=False):
            rows = slice(start, start + count)
            start += count
            own = {n: c if n in self.whole else c[rows] for n, c in self.outputs.items()}
            yield replace(
                self,
                requests=[request],
                outputs=own,
                counts=[count],
                is_shared=self.is_shared or len(self.requests) > 1,
            )


@dataclass(slots=True)
class BatchPrediction:
    """What became of a batch: every request is in exactly one of the answers or rejections.

    But for those from `first_left` on.
    """

    servable: str
    version: int
    signature_name: str
    answers: list[CallOutput]
    rejections: list[Rejection]
    first_left: Request | None = None
    """The first request that was not predicted, nor those behind it."""
    cost: float = 0.0
    """What the servable says that the others take of a batch; 0 where it says nothing."""

    def version_of(self, answers: CallOutput) -> int:
        """Return which version gave these answers."""
        return self.version if answers.version is None else answers.version

    def answered(self) -> list[Request]:
        """Return the requests that were answered."""
        return [request for answers in self.answers for request in answers.requests]

    def rejected(self) -> list[Request]:
        """Return the requests that were rejected."""
        return [one.polled for one in self.rejections if isinstance(one.polled, Request)]

    def keep_first(self, requests: Sequence[Request]) -> bool:
        """Leave the requests from the first on that was not answered, for the next batch.

        Returns False where none are in front of it.
        """
        answered = {id(request) for request in self.answered()}
        known = answered.union(id(request) for request in self.rejected())
        count = next((n for n, one in enumerate(requests) if id(one) not in known), len(requests))
        kept = {id(request) for request in requests[:count]}
        if count == len(requests) or answered.isdisjoint(kept):
            return False
        one_by_one = (answers.each() for answers in self.answers)
        self.answers = [one for each in one_by_one for one in each if id(one.requests[0]) in kept]
        self.rejections = [one for one in self.rejections if id(one.polled) in kept]
        self.first_left = requests[count]
        return True

    def take_over(
        self, again: "BatchPrediction", failed: Collection[Trial], version: int | None = None
    ) -> None:
        """Take what other versions answered of the rejected requests, after these had failed."""
        saved = {id(request) for request in again.answered()}
        for answers in again.answers:
            before = answers.evidence or Evidence(frozenset())
            evidence = before._replace(failed=before.failed.union(failed))
            self.answers.append(replace(answers, evidence=evidence, version=version))
        self.rejections = [one for one in self.rejections if id(one.polled) not in saved]
