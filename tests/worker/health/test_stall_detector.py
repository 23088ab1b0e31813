from tests.support.stages.records import ManualClock, a_kafka_record
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.health.stall_detector import StallDetector
from topicserve.worker.offsets.tracker import OffsetTracker


def test_a_turn_is_counted_whatever_it_finds() -> None:
    """A worker that gets nowhere still polls, and one that is held does not."""
    clock, tracker = ManualClock(), OffsetTracker()
    detector = StallDetector(tracker, clock)
    tracker.assign([TopicPartition("in", 0)])
    tracker.track([a_kafka_record(0)])

    clock.advance(20)
    detector.note()
    clock.advance(11)

    assert detector.turn_seconds() == 11
    assert detector.stalled_seconds() == 31
