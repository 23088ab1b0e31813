"""Stage: polled records become requests, or are rejected one by one."""

from collections.abc import Sequence

from topicserve.wire.dead_letter import Reason
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import decode_input
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.offsets import Slot
from topicserve.worker.request import Polled, Rejection, Request
from topicserve.worker.routing import Router, UnknownServableError

# A record held in memory weighs more than its value: tuples, headers, the offset's account.
OVERHEAD_BYTES = 512


class Decoder:
    """Reads polled records; the rows themselves are looked at when their batch is built."""

    def __init__(self, router: Router) -> None:
        self._route = router.route

    def decode(
        self, records: Sequence[KafkaRecord], slots: Sequence[Slot | None], now: float
    ) -> tuple[list[Request], list[Rejection]]:
        """Return the requests and the rejected, both in the records' order.

        Records without a slot are somebody else's by now and are left out.
        """
        requests: list[Request] = []
        rejections: list[Rejection] = []
        find_route = self._route
        for record, slot in zip(records, slots, strict=True):
            if slot is None:
                continue
            size = OVERHEAD_BYTES + len(record.value or b"") + len(record.key or b"")
            try:
                found = decode_input(record)
                route = find_route(found.target, found.record_id)
            except (InvalidRecordError, UnknownServableError) as error:
                polled = Polled(record, slot, size, now)
                rejections.append(Rejection(polled, _reason(error), error))
            else:
                requests.append(Request(record, slot, size, now, found, route))
        return requests, rejections


def _reason(error: Exception) -> Reason:
    if isinstance(error, UnknownServableError):
        return Reason.UNKNOWN_SERVABLE
    return Reason.INVALID_RECORD
