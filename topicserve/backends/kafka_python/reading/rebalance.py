"""Takes kafka-python's rebalance events off its I/O thread.

kafka-python runs callbacks on the thread that also sends heartbeats, so a listener that waits for
its records would cost the member its place. `worker.offsets` and the deliveries rely on that wait.
"""

import threading
from collections.abc import Callable, Collection
from enum import Enum
from typing import Any

from kafka import AsyncConsumerRebalanceListener
from kafka.future import Future

from topicserve.wire.kafka_record import TopicPartition


class Change(Enum):
    """What happened to partitions."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"


OnChange = Callable[[Change, list[TopicPartition]], None]


class RebalanceThread(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # the library is untyped
    """Calls `on_change` on a thread made for each event, one at a time.

    The client calls a listener on its I/O thread, where nothing may wait and nothing can commit,
    while the polling thread is held in `poll`. So the listener here is a coroutine that waits for
    a thread of its own, and the I/O thread goes on with heartbeats.
    """

    def __init__(
        self, on_change: OnChange, call_soon: Callable[[Callable[[], object]], None]
    ) -> None:
        self._on_change = on_change
        self._call_soon = call_soon

    async def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        await self._tell(Change.ASSIGNED, assigned)

    async def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        await self._tell(Change.REVOKED, revoked)

    async def on_partitions_lost(self, lost: Collection[Any]) -> None:
        await self._tell(Change.LOST, lost)

    async def _tell(self, change: Change, partitions: Collection[Any]) -> None:
        if not partitions:
            return
        done = Future()
        ours = [TopicPartition(theirs.topic, theirs.partition) for theirs in sorted(partitions)]

        def tell() -> None:
            try:
                self._on_change(change, ours)
            finally:
                # A coroutine may only be woken on the thread of its event loop.
                self._call_soon(lambda: done.success(None))

        threading.Thread(target=tell, name="kafka-python-rebalance", daemon=True).start()
        await done
