import logging

import pytest
from msgspec.structs import replace

from tests.support.stages.records import ManualClock, a_request
from topicserve.wire.dead_letter import DeadLetter, Reason, encode_dead_letter
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.worker.health.dead_letter_log import COUNT_SECONDS, DeadLetterLog
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.telemetry.logging import TextLines


def acknowledged(*reasons: Reason | None) -> OutgoingBatch:
    """Return outcomes, each a result or a dead letter."""
    outgoing = OutgoingBatch("digits", 1)
    for offset, reason in enumerate(reasons):
        request = a_request(offset=offset)
        record = OutgoingRecord("out", None, b"")
        if reason is not None:
            letter = DeadLetter.of(request.record, reason, ValueError(f"no {offset}"))
            record = encode_dead_letter(letter, "dead")
        outgoing.add(request, record, reason)
    return outgoing


def test_the_first_dead_letter_names_its_records_trace(caplog: pytest.LogCaptureFixture) -> None:
    """Its line is written later than the batch's span, on another thread."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    request = a_request()
    traceparent = f"00-{trace_id}-b7ad6b7169203331-01".encode()
    record = replace(request.record, headers=[("traceparent", traceparent)])
    request = replace(request, record=record)
    outgoing = OutgoingBatch("digits", 1)
    letter = DeadLetter.of(request.record, Reason.INVALID_INPUT, ValueError("no"))
    outgoing.add(request, encode_dead_letter(letter, "dead"), Reason.INVALID_INPUT)

    DeadLetterLog(ManualClock()).note(outgoing)

    (line,) = caplog.records
    assert line.__dict__["fields"]["trace_id"] == trace_id
    assert f" trace_id={trace_id}" in TextLines().format(line)


def test_the_first_dead_letter_of_a_reason_is_told_and_then_a_count_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first one says where it is and why; results are not told."""
    caplog.set_level(logging.DEBUG, "topicserve")
    clock = ManualClock()
    log = DeadLetterLog(clock)

    log.note(acknowledged(None, None))
    log.note(acknowledged(None, Reason.INVALID_INPUT, Reason.INVALID_INPUT))
    log.note(acknowledged(Reason.INVALID_INPUT, Reason.INVALID_RECORD))
    log.tick()
    clock.advance(COUNT_SECONDS)
    log.tick()
    log.tick()
    clock.advance(COUNT_SECONDS)
    log.tick()

    place = {"topic": "in", "partition": 0}
    assert [(record.msg, record.__dict__["fields"]) for record in caplog.records] == [
        (
            "first_dead_letter",
            {"reason": "invalid_input", **place, "offset": 1, "problem": "no 1"},
        ),
        (
            "first_dead_letter",
            {"reason": "invalid_record", **place, "offset": 1, "problem": "no 1"},
        ),
        ("dead_letters", {"reason": "invalid_input", "records": 2}),
    ]


def test_the_newest_of_a_batch_are_those_published_last() -> None:
    """A batch has its records by partition, and the ones that were not predicted behind them."""
    outgoing = OutgoingBatch("digits", 1)
    # Partition 1 has the newest ones, and partition 0 comes behind it.
    published = [(1, 90), (1, 80), (1, 100), (0, 10), (0, 20), (0, 30), (0, 85), (0, 40)]
    for offset, (partition, timestamp_ms) in enumerate(published):
        request = a_request(offset=offset)
        record = replace(request.record, partition=partition, timestamp_ms=timestamp_ms)
        letter = encode_dead_letter(DeadLetter.of(record, Reason.INVALID_INPUT, ValueError()), "d")
        outgoing.add(replace(request, record=record), letter, Reason.INVALID_INPUT)
    log = DeadLetterLog(ManualClock())

    log.note(acknowledged(Reason.INVALID_RECORD))
    log.note(outgoing)

    times = [published[one.offset][1] for one in log.newest()]
    assert times == [100, 90, 85, 80, 40]
