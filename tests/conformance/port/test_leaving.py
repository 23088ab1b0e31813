import threading

import pytest

from tests.support.port import LIMIT_SECONDS, Port, numbered, send, unique
from tests.support.scale import CHAOS

# `make chaos` leaves 2,000 times: the process was seen to freeze once in some 1,000.
LEAVES = 2000 if CHAOS else 6
SETTINGS = {"heartbeat.interval.ms": 100}


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
    members = [port.member(topic, group_id, SETTINGS)]
    members[0].poll_until(lambda: members[0].assigned)
    try:
        for _ in range(LEAVES):
            joining = port.member(topic, group_id, SETTINGS)
            while not joining.assigned:
                joining.poll()
                members[0].poll()
            leaving, members = members[0], [joining]
            leaving.consumer.close(LIMIT_SECONDS)
            for member in (leaving, joining):
                member.records.clear()
    finally:
        stop.set()
        thread.join()

    members[0].poll_until(lambda: len(members[0].assigned) == 4)
