from collections.abc import Sequence

import pytest

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.fakes import HeldProducer
from tests.support.stages.records import PARTITION, a_kafka_record
from topicserve.backends.errors import BackendError, DeliveryTimeoutError
from topicserve.wire.dead_letter import DeadLetter, Reason, encode_dead_letter
from topicserve.wire.header_names import REPLAY_INPUT
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.worker.replay.ledger import Ledger
from topicserve.worker.replay.ledger_producer import LedgerProducer, place_of
from topicserve.worker.replay.progress_note import OffsetRange, ProgressNote, Tally, split


def a_result(offset: int, topic: str = "in") -> OutgoingRecord:
    """Return the result of a record."""
    return OutgoingRecord("out", b"key", b"{}", [(REPLAY_INPUT, f"{topic}:0:{offset}".encode())])


def a_dead_letter(offset: int) -> OutgoingRecord:
    """Return the dead letter of a record."""
    letter = DeadLetter.of(a_kafka_record(offset), Reason.TIMED_OUT, ValueError("slow"))
    return encode_dead_letter(letter, "dead")


def a_ledger() -> Ledger:
    """Return a ledger with three records read."""
    ledger = Ledger()
    ledger.open(PARTITION, ProgressNote("job", OffsetRange(0, 9), Tally()), 0)
    ledger.read([a_kafka_record(offset) for offset in range(3)])
    return ledger


def outcomes(ledger: Ledger) -> dict[str, int]:
    """Return what is counted of the three."""
    note, _ = split(ledger.noted({PARTITION: 3})[PARTITION])
    return dict(note.tally.outcomes)


def ignored(_: Sequence[BackendError | None]) -> None:
    """Take an answer."""


def test_an_outcome_counts_when_it_is_acknowledged() -> None:
    """And before the delivery hears of it, which may commit at once."""
    ledger = a_ledger()
    client = HeldProducer(MemoryLog())
    seen = []
    producer = LedgerProducer(client, ledger, is_transactional=False)

    producer.send([a_result(0), a_dead_letter(1)], lambda _: seen.append(outcomes(ledger)))
    before = outcomes(ledger)
    client.release()

    assert before == {}
    assert seen == [{"result": 1, "timed_out": 1}]


def test_what_is_not_acknowledged_does_not_count() -> None:
    """It is sent again, and counts then."""
    ledger = a_ledger()
    client = MemoryProducer(MemoryLog())
    client.fail_send = lambda record: (
        DeliveryTimeoutError("late") if place_of(record) == (PARTITION, 1) else None
    )

    LedgerProducer(client, ledger, is_transactional=False).send([a_result(0), a_result(1)], ignored)

    assert outcomes(ledger) == {"result": 1}


def test_the_account_is_part_of_the_transaction() -> None:
    """What takes the place of an outcome after an abort takes its place in the account."""
    ledger = a_ledger()
    log = MemoryLog()
    producer = LedgerProducer(MemoryProducer(log), ledger, is_transactional=True)
    producer.init_transactions(1)
    producer.begin_transaction()
    producer.send([a_result(0), a_result(1)], ignored)
    producer.abort_transaction(1)
    producer.begin_transaction()
    producer.send([a_result(0), a_dead_letter(1)], ignored)

    producer.send_offsets_to_transaction({PARTITION: 2}, "group", 1)
    producer.commit_transaction(1)

    note, offset = split(log.committed[PARTITION])
    assert offset == 2
    assert (note.tally.read, note.tally.outcomes) == (2, {"result": 1, "timed_out": 1})


def test_an_outcome_says_which_record_it_is_of() -> None:
    """A topic's name may hold anything that Kafka allows."""
    assert place_of(a_result(7, "a.b-c_d")) == (("a.b-c_d", 0), 7)
    assert place_of(a_dead_letter(8)) == (PARTITION, 8)


@pytest.mark.parametrize("value", [b"", b"in", b"in:0", b"in:0:x", None, b"\xff:0:1"])
def test_a_record_that_does_not_say_is_no_outcome(value: bytes | None) -> None:
    """It counts for none."""
    assert place_of(OutgoingRecord("out", None, None, [(REPLAY_INPUT, value)])) is None
