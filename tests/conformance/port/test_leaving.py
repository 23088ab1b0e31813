import threading

import pytest

from tests.support.kafka.port import LIMIT_SECONDS, Member, Port, numbered, send, unique
from tests.support.processes.scale import CHAOS

# `make chaos` leaves 2,000 times: the process was seen to freeze once in some 1,000.
LEAVES = 2000 if CHAOS else 6
SETTINGS = {"auto.offset.reset": "earliest", "heartbeat.interval.ms": 100}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("client", "broker_name"), [("confluent", "embedded")], indirect=True)
def test_members_leave_under_load_again_and_again(port: Port) -> None:
    """With records coming and another member there: each close takes part in a rebalance first."""
    topic, group_id, producer = port.topic(partitions=4), unique("group"), port.producer()
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            send(producer, numbered(topic, 200))

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    member = join(port, topic, group_id)
    member.poll_until(lambda: member.assigned)
    try:
        for _ in range(LEAVES):
            joining = join(port, topic, group_id)
            while not joining.assigned:
                joining.poll()
                member.poll()
            member.consumer.close(LIMIT_SECONDS)
            member = joining
            member.records.clear()
        member.poll_until(lambda: len(member.assigned) == 4)
    finally:
        stop.set()
        thread.join()
        member.consumer.close(LIMIT_SECONDS)


def join(port: Port, topic: str, group_id: str) -> Member:
    """Return a new member that nothing else holds: each client has one of 1,024 thread keys."""
    member = Member(port.broker.consumer(group_id, SETTINGS))
    member.consumer.subscribe([topic], member)
    return member
