"""Members that join and leave their groups under load, in a process of their own.

    python -m tests.support.kafka.leaving BOOTSTRAP_SERVERS GROUPS ROUNDS

In each round every group is joined by a new member and left by the one before, all groups at the
same time, while records come. Prints a line a round: the seconds that the slowest `close` took, and
how many rebalances were left for librdkafka's own `close` so far: each may freeze the process. One
that freezes ends itself with the tracebacks of its threads, and with exit code 1.
"""

import faulthandler
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import confluent_kafka

from tests.support.kafka.port import (
    LIMIT_SECONDS,
    POLL_SECONDS,
    Member,
    Port,
    eventually,
    numbered,
    send,
    unique,
)
from topicserve.backends.kafka_clients import open_broker

FROZEN_SECONDS = 240.0
PARTITIONS = 4
# A member hears of a rebalance with its next heartbeat.
_SETTINGS = {"auto.offset.reset": "earliest", "heartbeat.interval.ms": 100}
# Rebalances of many groups at a time, on cores that others use too.
_REBALANCE_SECONDS = 120.0
# A list of records for each poll, and no more than members can read.
_LOAD_RECORDS, _LOAD_SECONDS = 20, POLL_SECONDS / 10


class WatchedConsumer(confluent_kafka.Consumer):  # type: ignore[misc]
    """Counts the rebalances for which it calls back while it closes."""

    left_for_close = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._closes = False

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        """Subscribe, with callbacks that are counted."""
        super().subscribe(topics, **{name: self._counted(c) for name, c in callbacks.items()})

    def close(self) -> None:
        """Close, noting what is called back meanwhile."""
        self._closes = True
        super().close()

    def _counted(self, callback: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if self._closes:
                WatchedConsumer.left_for_close += 1
            callback(*arguments)

        return call


class Group:
    """A group of one member, which is replaced by another one again and again."""

    def __init__(self, port: Port, topic: str) -> None:
        self._port, self._topic = port, topic
        self._group_id = unique("group")
        self._member = self._join()
        eventually(lambda: self._member.poll() or self._member.assigned, _REBALANCE_SECONDS)

    def leave(self) -> float:
        """Close the member while another one takes part; return the seconds that this took."""
        joining = self._join()

        def shares() -> bool:
            joining.poll()
            self._member.poll()
            return bool(joining.assigned)

        eventually(shares, _REBALANCE_SECONDS)
        seconds = self.close()
        self._member = joining
        joining.records.clear()
        return seconds

    def wait_whole(self) -> None:
        """Wait until the member that is left has all partitions."""

        def has_all() -> bool:
            self._member.poll()
            return len(self._member.assigned) == PARTITIONS

        eventually(has_all, _REBALANCE_SECONDS)

    def close(self) -> float:
        """Close the member; return the seconds that this took."""
        started = time.monotonic()
        self._member.consumer.close(LIMIT_SECONDS)
        return time.monotonic() - started

    def _join(self) -> Member:
        # Held by nothing else once it is closed: each client has one of 1,024 thread keys.
        member = Member(self._port.broker.consumer(self._group_id, _SETTINGS))
        member.consumer.subscribe([self._topic], member)
        return member


def leave_again_and_again(
    port: Port, groups: int, rounds: int, each_round: Callable[[float], None]
) -> None:
    """Run the rounds; `each_round` hears the seconds of the slowest `close`."""
    topic = port.topic(PARTITIONS)
    stop = threading.Event()
    load = threading.Thread(target=_send_until, args=(stop, port, topic), daemon=True)
    load.start()
    try:
        with ThreadPoolExecutor(groups) as threads:
            opened = list(threads.map(lambda _: Group(port, topic), range(groups)))
            for _ in range(rounds):
                each_round(max(threads.map(Group.leave, opened)))
            list(threads.map(Group.wait_whole, opened))
            list(threads.map(Group.close, opened))
    finally:
        stop.set()
        load.join()


def _send_until(stop: threading.Event, port: Port, topic: str) -> None:
    producer = port.producer()
    while not stop.wait(_LOAD_SECONDS):
        send(producer, numbered(topic, _LOAD_RECORDS))


def main() -> None:
    """Run the rounds, and end as soon as none has ended for a while."""
    bootstrap_servers, groups, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    confluent_kafka.Consumer = WatchedConsumer
    port = Port(open_broker("confluent", {"bootstrap.servers": bootstrap_servers}))

    def each_round(seconds: float) -> None:
        print(f"{seconds:.3f} {WatchedConsumer.left_for_close}", flush=True)
        faulthandler.dump_traceback_later(FROZEN_SECONDS, exit=True)

    faulthandler.dump_traceback_later(FROZEN_SECONDS, exit=True)
    leave_again_and_again(port, groups, rounds, each_round)
    port.close()
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
