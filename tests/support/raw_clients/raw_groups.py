"""Groups of raw consumers, each polled on a thread of its own as members are in real life."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.support.kafka.port import LIMIT_SECONDS
from tests.support.raw_clients.raw_client import Partition, RawConsumer, RawRecord


class PolledMember:
    """A member that is polled until told to stop; other calls are made on the polling thread."""

    def __init__(self, consumer: RawConsumer, topic: str) -> None:
        self.consumer = consumer
        self.records: list[RawRecord] = []
        self.assigned: set[Partition] = set()
        self.shares: list[frozenset[Partition]] = []
        self._changed = threading.Condition()
        self._calls: list[Callable[[], object]] = []
        self._stopped = False
        self._error: BaseException | None = None
        consumer.subscribe(topic)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on this member holds."""
        with self._changed:
            held = self._changed.wait_for(lambda: self._error or condition(), LIMIT_SECONDS)
        if self._error is not None:
            raise self._error
        assert held, f"not within {LIMIT_SECONDS} s: {self.shares}"

    def call(self, function: Callable[[], object]) -> None:
        """Have the polling thread do something, and wait for it."""
        done = threading.Event()

        def and_tell() -> None:
            function()
            done.set()

        with self._changed:
            self._calls.append(and_tell)
        self.wait(done.is_set)

    def stop(self) -> None:
        """Stop polling, without leaving."""
        self._stopped = True
        self._thread.join(LIMIT_SECONDS)

    def leave(self) -> None:
        """Stop polling and close."""
        self.stop()
        self.consumer.close()

    def _run(self) -> None:
        try:
            while not self._stopped:
                polled = self.consumer.poll()
                assigned = self.consumer.assignment()
                with self._changed:
                    calls, self._calls = self._calls, []
                for call in calls:
                    call()
                with self._changed:
                    self.records += polled
                    if assigned != self.assigned:
                        self.shares.append(frozenset(assigned))
                    self.assigned = assigned
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()


@contextmanager
def polled(topic: str, *consumers: RawConsumer) -> Iterator[list[PolledMember]]:
    """Join consumers to their group and poll them; they stop with the context."""
    members = [PolledMember(consumer, topic) for consumer in consumers]
    try:
        yield members
    finally:
        for member in members:
            member.stop()


def wait_shared(members: Sequence[PolledMember], partitions: int) -> None:
    """Wait until members share all partitions of a topic evenly."""

    def shared() -> bool:
        shares = [member.assigned for member in members]
        sizes = [len(share) for share in shares]
        return (
            len(set().union(*shares)) == sum(sizes) == partitions and max(sizes) - min(sizes) <= 1
        )

    for member in members:
        member.wait(shared)
