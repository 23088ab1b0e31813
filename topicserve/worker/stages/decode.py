"""Stage: polled records become requests, or are rejected one by one.

On the polling thread, so it must cost little: values are read when the batch's columns are built.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from topicserve.backends.references.header import Reference, read_reference
from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import error_text
from topicserve.wire.bodies.asked import Unasked
from topicserve.wire.bodies.registry import Bodies
from topicserve.wire.dead_letter import Reason
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import ServableSpec, headers_bytes
from topicserve.wire.input_record import InputReader, InputRecord, decode_input
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord, UnreadableHeaders
from topicserve.wire.limits import DEFAULT_LIMITS, Limits
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.request import NOWHERE, Polled, Rejection, Request, Route
from topicserve.worker.stages.routing import Router, UnknownServableError

# A record held in memory weighs more than its content: structs, the offset's account.
OVERHEAD_BYTES = 512


class Decoder:
    """Reads polled records; the rows themselves are looked at when their batch is built."""

    def __init__(
        self,
        router: Router,
        limits: Limits = DEFAULT_LIMITS,
        bodies: Bodies | None = None,
        *,
        fetches: bool = False,
        defers_asking: bool = False,
    ) -> None:
        """Take records whose body lies elsewhere only where `fetches` says so.

        With `defers_asking` bodies of a user's own are not asked by `decode`, but by `ask`.
        """
        self._router = router
        self._reader = InputReader(limits, bodies, defers_asking=defers_asking)
        self._find_route = self._route_of_asked if defers_asking else router.route
        self._fetches = fetches

    def decode(
        self,
        records: Sequence[KafkaRecord],
        assignments: Sequence[PartitionAssignment | None],
        now: float,
    ) -> tuple[list[Request], list[Rejection]]:
        """Return the requests and the rejected, both in the records' order.

        Records without a assignment are another's by now and are left out.
        """
        requests: list[Request] = []
        rejections: list[Rejection] = []
        self._router.follow()
        find_route, reader = self._find_route, self._reader
        for record, assignment in zip(records, assignments, strict=True):
            if assignment is None:
                continue
            size = OVERHEAD_BYTES + len(record.value or b"") + len(record.key or b"")
            try:
                if not record.value and (reference := read_reference(record.headers)) is not None:
                    found, route = self._referring(record, reference), NOWHERE
                else:
                    found = decode_input(record, reader)
                    route = find_route(found.target, found.record_id)
            # Whatever a parser raises, the fault is this record's own and touches no other.
            except Exception as error:
                polled = Polled(record, assignment, size + headers_bytes(record.headers), now)
                rejections.append(_rejection(polled, error))
            else:
                size += found.held_bytes
                requests.append(Request(record, assignment, size, now, found, route))
        return requests, rejections

    def _referring(self, record: KafkaRecord, reference: Reference) -> InputRecord:
        """Return what the headers of a record ask for whose body is to be fetched.

        The body may say more: the signature, and as protobuf also the servable, and the record id,
        which is empty here without a header.
        """
        if not self._fetches:
            raise FetchingOffError(
                "the body lies at a URL (ce_dataref), and this worker fetches none: set "
                "dataref.allow to the URLs under which it may"
            )
        record_id, envelope, deadline, trace, size = self._reader.read_headers(record.headers)
        return InputRecord(
            record_id or "",
            envelope.target,
            Form.INSTANCE,
            reference,
            1,
            envelope.codec,
            deadline,
            envelope.metadata_absent,
            trace,
            held_bytes=size + len(reference.url),
            limits=self._reader.limits,
        )

    def _route_of_asked(self, target: ServableSpec, record_id: str) -> Route:
        return NOWHERE if type(target) is Unasked else self._router.route(target, record_id)

    def ask(self, request: Request) -> Request | Rejection:
        """Return a request with what its body says, which was not asked yet; the same record."""
        unasked = request.input
        assert isinstance(unasked.target, Unasked)
        try:
            found = unasked.target.ask(unasked)
            route = self._router.route(found.target, found.record_id)
        # Whatever a parser raises, the fault is this record's own and touches no other.
        except Exception as error:
            return _rejection(request, error)
        if request.route.is_suspect:
            route = replace(route, is_suspect=True)
        size = request.size_bytes + found.held_bytes - unasked.held_bytes
        return replace(request, size_bytes=size, input=found, route=route)

    def decode_body(self, request: Request, body: bytes) -> Request | Rejection:
        """Return a request whose body was fetched; its record stays as it was polled."""
        record = request.record
        self._router.follow()
        try:
            found = decode_input(replace(record, value=body), self._reader)
            route = self._router.route(found.target, found.record_id)
        # Whatever a parser raises, the fault is this record's own and touches no other.
        except Exception as error:
            return _rejection(request, error)
        if request.route.is_suspect:
            route = replace(route, is_suspect=True)
        size = OVERHEAD_BYTES + len(body) + len(record.key or b"") + found.held_bytes
        return Request(record, request.assignment, size, request.polled_at, found, route)


class FetchingOffError(TopicserveError):
    """A record's body lies elsewhere, and the worker is not told to fetch any."""


def _rejection(polled: Polled, error: Exception) -> Rejection:
    unreadable = polled.record.headers
    if isinstance(unreadable, UnreadableHeaders):
        return _unreadable(polled, unreadable)
    if isinstance(error, UnknownServableError):
        return Rejection(polled, Reason.UNKNOWN_SERVABLE, error)
    if isinstance(error, FetchingOffError):
        return Rejection(polled, Reason.DATAREF_REFUSED, error)
    if not isinstance(error, InvalidRecordError):
        error = InvalidRecordError("value", f"cannot be read: {error_text(error)}")
    return Rejection(polled, Reason.INVALID_RECORD, error)


def _unreadable(polled: Polled, unreadable: UnreadableHeaders) -> Rejection:
    """Reject what the client could not read, with what of it it could."""
    reason = Reason.INVALID_RECORD
    if unreadable.first_offset is not None:
        reason = Reason.BATCH_TOO_LARGE if unreadable.is_too_large else Reason.CORRUPT_BATCH
    return Rejection(
        replace(polled, record=replace(polled.record, headers=unreadable.kept)),
        reason,
        InvalidRecordError("record", unreadable.problem),
    )
