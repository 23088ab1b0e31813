"""What a replay does otherwise than a worker that serves: in the decoder and in the encoder."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from topicserve.wire import header_names as names
from topicserve.wire.bodies.registry import Bodies
from topicserve.wire.dead_letter import Reason
from topicserve.wire.input_record import InputReader, decode_input
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.wire.result import Metadata
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.stages.request import BatchPrediction, Polled, Rejection, Request


class ReplayDecoder(Decoder):
    """Reads records of the past: their deadlines have passed, and another version answers them."""

    def __init__(self, decoder: Decoder, *, version_is_given: bool) -> None:
        self._decoder = decoder
        self._version_is_given = version_is_given

    def decode(
        self,
        records: Sequence[KafkaRecord],
        assignments: Sequence[PartitionAssignment | None],
        now: float,
    ) -> tuple[list[Request], list[Rejection]]:
        """Return the requests, without deadline, and without version where the replay has one."""
        requests, rejections = self._decoder.decode(records, assignments, now)
        return [self._of_today(request) for request in requests], rejections

    def ask(self, request: Request) -> Request | Rejection:
        """Return a request whose body was asked, in the same way."""
        asked = self._decoder.ask(request)
        return self._of_today(asked) if isinstance(asked, Request) else asked

    def decode_body(self, request: Request, body: bytes) -> Request | Rejection:
        """Return a request with its fetched body, in the same way."""
        decoded = self._decoder.decode_body(request, body)
        return self._of_today(decoded) if isinstance(decoded, Request) else decoded

    def _of_today(self, request: Request) -> Request:
        if request.input.deadline is not None:
            request = replace(request, input=replace(request.input, deadline=None))
        route = request.route
        if self._version_is_given and (route.version is not None or route.label is not None):
            request = replace(request, route=replace(route, version=None, label=None))
        return request


class ReplayEncoder(Encoder):
    """Says in the headers of each result which record it answers, and in which replay."""

    def __init__(self, encoder: Encoder, group_id: str) -> None:
        self._encoder = encoder
        self.dead_letter_topic = encoder.dead_letter_topic
        self._group = (names.REPLAY_GROUP, group_id.encode())

    def encode(
        self, predicted: BatchPrediction, metadata: Sequence[Metadata], rejections: list[Rejection]
    ) -> OutgoingBatch:
        """Return the outcomes, each result with the two headers more."""
        outgoing = self._encoder.encode(predicted, metadata, rejections)
        for index, reason in enumerate(outgoing.reasons):
            if reason is None:
                place = outgoing.polled[index].record
                outgoing.records[index] = self._with_place(outgoing.records[index], place)
        return outgoing

    def refused(self, polled: Polled, reason: Reason, error: Exception) -> OutgoingRecord:
        """Return the dead letter of a record whose result will never be taken."""
        return self._encoder.refused(polled, reason, error)

    def _with_place(self, result: OutgoingRecord, place: KafkaRecord) -> OutgoingRecord:
        text = f"{place.topic}:{place.partition}:{place.offset}"
        # In front: what is counted of a result looks at its last header.
        headers = ((names.REPLAY_INPUT, text.encode()), self._group, *result.headers)
        return replace(result, headers=headers)


def asks_for(servable: str, default_servable: str, bodies: Bodies) -> Callable[[KafkaRecord], bool]:
    """Return what tells whether a record asks for a servable.

    One that cannot be read is wanted: the pipeline gives it up with its reason.
    """
    reader = InputReader(bodies=bodies)

    def is_wanted(record: KafkaRecord) -> bool:
        headers = dict(record.headers)
        # Some bodies may name a servable too, and win; JSON does not, and one that is elsewhere is
        # not fetched for this.
        content_type = headers.get(names.CONTENT_TYPE) or b""
        is_json = content_type.startswith(names.JSON_CONTENT_TYPE.encode())
        if is_json or (not record.value and names.DATAREF in headers):
            named = (headers.get(names.SERVABLE) or b"").decode(errors="replace")
        else:
            try:
                named = decode_input(record, reader).target.servable or ""
            # Whatever a parser raises: see above.
            except Exception:
                return True
        return (named or default_servable or servable) == servable

    return is_wanted
