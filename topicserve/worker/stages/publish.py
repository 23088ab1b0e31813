"""Stage: outputs and metadata become results, rejections become dead letters.

It writes bodies and headers on a batch thread. Sending them is the delivery's.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import error_text
from topicserve.wire.dead_letter import DeadLetter, Reason, encode_dead_letter
from topicserve.wire.header_names import METADATA_JSON
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.wire.result import Metadata
from topicserve.wire.result_encoder import Origin, encode_results
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.calls.second_tries import Refusal, SecondTries
from topicserve.worker.stages.request import (
    BatchPrediction,
    CallOutput,
    Evidence,
    FetchedRequest,
    Polled,
    Rejection,
    Request,
)


@dataclass(slots=True)
class OutgoingBatch:
    """What is to be published: `records[i]` is the outcome of `polled[i]`.

    Where `reasons[i]` is None it is a result of the servable's version, else a dead letter.
    `others` has the versions of results that another version gave, by the id of their record.
    """

    servable: str
    version: int
    polled: list[Polled] = field(default_factory=list)
    records: list[OutgoingRecord] = field(default_factory=list)
    reasons: list[Reason | None] = field(default_factory=list)
    others: dict[int, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    """The bytes that were counted for each outcome; empty before they are counted."""
    evidence: dict[int, Evidence] = field(default_factory=dict)
    """What results say about versions on probation and canaries, by the id of their record."""
    alone: set[int] = field(default_factory=set)
    """The ids of records that had a call of their own."""
    again: list[Request] = field(default_factory=list)
    """Records without an outcome: what they were answered cannot be written; see SecondTries."""
    rejections: list[Rejection] = field(default_factory=list)
    """Why records were given up, with the last one's error for the breaker to tell."""
    is_in_order: bool = True
    """Whether outcomes of a partition are in the order of its records."""

    @property
    def counted_bytes(self) -> int:
        """Return the bytes that were counted for these outcomes."""
        return sum(self.sizes)

    def measure(self) -> int:
        """Return the bytes of these outcomes, and keep them: an outcome may be replaced later.

        A result counts twice: until it is acknowledged, the client has a copy of its own. A dead
        letter's value is the record's own, so the copy alone is counted here.
        """
        self.sizes = [
            len(record.value or b"") * (2 if reason is None else 1)
            for record, reason in zip(self.records, self.reasons, strict=True)
        ]
        for index, record in enumerate(self.records):
            # Metadata is part of a JSON result, and a header of its own beside a protobuf one.
            name, value = record.headers[-1] if record.headers else ("", None)
            if name == METADATA_JSON and value is not None:
                self.sizes[index] += 2 * len(value)
        return sum(self.sizes)

    def add(self, polled: Polled, record: OutgoingRecord, reason: Reason | None) -> None:
        """Add one outcome."""
        self.polled.append(polled)
        self.records.append(record)
        self.reasons.append(reason)

    def take_over(self, again: "OutgoingBatch") -> None:
        """Add the outcomes of records that were predicted once more, each in its place."""
        self.others.update((id(one), again.version) for one in again.polled)
        self.others |= again.others
        self.evidence |= again.evidence
        self.alone |= again.alone
        self.again += again.again
        self.rejections = [*self.rejections, *again.rejections]
        self.polled += again.polled
        self.records += again.records
        self.reasons += again.reasons
        self.sizes += again.sizes
        self.is_in_order = False

    def sort(self) -> None:
        """Put the outcomes of each partition in the order of its records."""
        order = sorted(range(len(self.polled)), key=lambda index: self.polled[index].record.offset)
        self.is_in_order = True
        self.polled = [self.polled[index] for index in order]
        self.records = [self.records[index] for index in order]
        self.reasons = [self.reasons[index] for index in order]
        self.sizes = [self.sizes[index] for index in order] if self.sizes else []

    def where(self, wanted: Callable[[int], bool]) -> "OutgoingBatch":
        """Return the outcomes whose index is wanted."""
        part = OutgoingBatch(
            self.servable,
            self.version,
            others=self.others,
            evidence=self.evidence,
            alone=self.alone,
            is_in_order=self.is_in_order,
        )
        for index in filter(wanted, range(len(self.polled))):
            part.add(self.polled[index], self.records[index], self.reasons[index])
            if self.sizes:
                part.sizes.append(self.sizes[index])
        return part

    def share_of(self, assignments: Collection[PartitionAssignment]) -> "OutgoingBatch":
        """Return what became of the records of these assignments alone."""
        share = self.where(lambda index: self.polled[index].assignment in assignments)
        share.rejections = [one for one in self.rejections if one.polled.assignment in assignments]
        return share

    def without_revoked(self) -> tuple["OutgoingBatch", "OutgoingBatch"]:
        """Return the outcomes whose partitions are still ours, and those that are not."""
        # There are few partitions, and many records of each.
        if not any(
            assignment.closed for assignment in {polled.assignment for polled in self.polled}
        ):
            return self, OutgoingBatch(self.servable, self.version)
        return (
            self.where(lambda index: not self.polled[index].assignment.closed),
            self.where(lambda index: self.polled[index].assignment.closed),
        )

    def drop_bodies(self) -> int:
        """Let go of fetched bodies, and return the bytes that were counted for them.

        An outcome may wait long for its acknowledgement, and its record needs no body any more.
        """
        freed = 0
        for index, polled in enumerate(self.polled):
            if not isinstance(polled, FetchedRequest):
                continue
            origin = self.polled[index] = polled.origin
            freed += polled.size_bytes - origin.size_bytes
            if id(polled) in self.others:
                self.others[id(origin)] = self.others.pop(id(polled))
            if id(polled) in self.evidence:
                self.evidence[id(origin)] = self.evidence.pop(id(polled))
            if id(polled) in self.alone:
                self.alone.add(id(origin))
        self.rejections = [
            replace(one, polled=one.polled.origin)
            if isinstance(one.polled, FetchedRequest)
            else one
            for one in self.rejections
        ]
        return freed

    def record_ids(self) -> list[str]:
        """Return the record ids of those that got a result."""
        return [
            polled.input.record_id
            for polled, reason in zip(self.polled, self.reasons, strict=True)
            if reason is None and isinstance(polled, Request)
        ]

    def count_results(self) -> Counter[int]:
        """Return how many results each version gave."""
        results = self.reasons.count(None)
        if not self.others:
            return Counter({self.version: results} if results else {})
        return Counter(
            self.others.get(id(polled), self.version)
            for polled, reason in zip(self.polled, self.reasons, strict=True)
            if reason is None
        )


class EncodeError(TopicserveError):
    """What the servable answered to this record cannot be written as a result."""


class Encoder:
    """Turns outcomes into records. Any thread may call it."""

    def __init__(
        self,
        topic: str,
        dead_letter_topic: str,
        worker_id: str,
        tries: SecondTries | None = None,
    ) -> None:
        self._tries = SecondTries() if tries is None else tries
        self._topic = topic
        self.dead_letter_topic = dead_letter_topic
        self._worker_id = worker_id

    def encode(
        self, predicted: BatchPrediction, metadata: Sequence[Metadata], rejections: list[Rejection]
    ) -> OutgoingBatch:
        """Return results for what was answered and not rejected, dead letters for the rejected.

        `metadata` has one for each of `predicted.answered()`, in that order. What cannot be written
        as a result is added to `rejections`, or to what is to be predicted `again`.
        """
        outgoing = OutgoingBatch(predicted.servable, predicted.version, rejections=rejections)
        rejected = {id(rejection.polled) for rejection in rejections}
        start = 0
        for answers in predicted.answers:
            stop = start + len(answers.requests)
            own = metadata[start:stop]
            self._add_results(outgoing, predicted, answers, own, rejections, rejected)
            start = stop
        for rejection in rejections:
            letter = DeadLetter.of(rejection.polled.record, rejection.reason, rejection.error)
            record = encode_dead_letter(letter, self.dead_letter_topic)
            outgoing.add(rejection.polled, record, rejection.reason)
        # Records of unlike layouts have calls of their own, and dead letters came last.
        outgoing.is_in_order = len(predicted.answers) <= 1 and not rejections
        return outgoing

    def refused(self, polled: Polled, reason: Reason, error: Exception) -> OutgoingRecord:
        """Return the dead letter of a record whose result will never be taken."""
        letter = DeadLetter.of(polled.record, reason, error)
        return encode_dead_letter(letter, self.dead_letter_topic)

    def _add_results(
        self,
        outgoing: OutgoingBatch,
        predicted: BatchPrediction,
        answers: CallOutput,
        metadata: Sequence[Metadata],
        rejections: list[Rejection],
        rejected: set[int],
    ) -> None:
        requests = answers.requests
        version = predicted.version_of(answers)
        if version != predicted.version:
            outgoing.others.update((id(request), version) for request in requests)
        if answers.evidence is not None:
            outgoing.evidence.update((id(request), answers.evidence) for request in requests)
        if len(requests) == 1 and not answers.is_shared:
            outgoing.alone.add(id(requests[0]))
        try:
            results = encode_results(
                self._topic,
                Origin(predicted.servable, version, predicted.signature_name, self._worker_id),
                [request.input for request in requests],
                [request.record.key for request in requests],
                answers.outputs,
                # One that the join rejected has none; its result is made, and left out later.
                metadata,
                answers.counts,
                answers.whole,
            )
        # A string column may hold anything, and a result may be too large for memory.
        except Exception as error:
            self._add_one_by_one(outgoing, predicted, answers, metadata, rejections, error)
            return
        if not rejected:
            outgoing.polled += requests
            outgoing.records += results
            outgoing.reasons += [None] * len(results)
            return
        for request, result in zip(requests, results, strict=True):
            if id(request) not in rejected:
                outgoing.add(request, result, None)

    def _add_one_by_one(
        self,
        outgoing: OutgoingBatch,
        predicted: BatchPrediction,
        answers: CallOutput,
        metadata: Sequence[Metadata],
        rejections: list[Rejection],
        error: Exception,
    ) -> None:
        """Encode each record alone, so that the one whose outputs cannot be written is found."""
        rejected = {id(rejection.polled) for rejection in rejections}
        if len(answers.requests) == 1:
            (request,) = answers.requests
            if id(request) not in rejected:
                refusal = Refusal(Reason.PREDICT_FAILED, EncodeError(error_text(error)))
                is_alone, evidence = not answers.is_shared, answers.evidence
                if self._tries.note(request, refusal, is_alone=is_alone, evidence=evidence):
                    outgoing.again.append(request)
                else:
                    rejections.append(Rejection(request, *refusal))
            return
        for own, found in zip(answers.each(), metadata, strict=True):
            self._add_results(outgoing, predicted, own, [found], rejections, rejected)
