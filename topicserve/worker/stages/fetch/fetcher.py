"""Stage: bodies that lie elsewhere are fetched before their records gather in the batcher.

It stands in front of the batcher and passes on what has its body. A record whose body has not come
holds back those of its key in its partition, and no others.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count

from topicserve.backends.references.errors import ReferenceRefusedError
from topicserve.backends.references.stores import BodyStores
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.fetch.threads import FetchThreads
from topicserve.worker.stages.fetch.waiting import KeyOrder, Waiting
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import Polled, Rejection, Request

FULL_RECORDS = 1024
"""So many records that wait are enough of one partition: no more of it is polled."""


class BodyFetcher:
    """Lets records wait for their bodies.

    The polling thread adds, its delivery gives records back, the thread of a rebalance drops what
    is revoked. One lock guards what waits, and nothing blocks.
    """

    def __init__(
        self,
        environment: Environment,
        tracker: OffsetTracker,
        batcher: Batcher,
        decoder: Decoder,
        stores: BodyStores,
    ) -> None:
        self._metrics = environment.metrics
        self._tracker = tracker
        self._batcher = batcher
        self._stores = stores
        self._changed = threading.Condition(threading.RLock())
        self.threads = FetchThreads(
            *(environment, tracker, decoder, stores), self._changed, self._finish
        )
        self.on_suspect_rejected: Callable[[], None] = lambda: None
        """Called for each suspected record that is given up unpredicted."""
        self._order = KeyOrder()
        self._numbers = count()
        self._waiting: set[Waiting] = set()

    def add(self, requests: Sequence[Request], rejections: Sequence[Rejection], epoch: int) -> None:
        """Pass records on to the batcher, those whose body lies elsewhere once it is here."""
        with self._changed:
            free = requests
            if self._order or any(request.reference is not None for request in requests):
                free = [one for one in requests if not self._let_wait(one, epoch)]
            if free or rejections:
                self._batcher.add(free, rejections, epoch)

    def add_again(self, requests: Sequence[Request], epoch: int) -> None:
        """Take single records back whose results are of no use; bodies are fetched once more."""
        here = [request for request in requests if request.reference is None]
        self._batcher.add_again(here, epoch)
        with self._changed:
            for request in requests:
                if request.reference is not None:
                    self._let_wait(request, epoch)

    def drop_bodies(self, outgoing: OutgoingBatch) -> None:
        """Let go of the bodies of records that have their outcomes; there is room for others."""
        freed = outgoing.drop_bodies()
        if freed:
            self._tracker.count_bytes(-freed)
            with self._changed:
                self._changed.notify_all()

    def drop_revoked(self) -> list[Polled]:
        """Drop what waits for partitions that are no longer ours; return what the batcher dropped.

        Records whose bodies are being read are dropped once that has ended.
        """
        with self._changed:
            for waiting in [one for one in self._waiting if one.is_revoked]:
                if waiting.outcome is None and not self.threads.is_reading(waiting):
                    self._finish(waiting, waiting.request)
        return self._batcher.drop_revoked()

    def full(self) -> set[TopicPartition]:
        """Return the partitions of which so many records wait that no more are to be polled."""
        if len(self._waiting) <= FULL_RECORDS:
            return set()
        with self._changed:
            counts = Counter(one.request.assignment.partition for one in self._waiting)
        return {partition for partition, found in counts.items() if found > FULL_RECORDS}

    def close(self) -> None:
        """Fetch nothing more."""
        with self._changed:
            self.threads.close()

    def _let_wait(self, request: Request, epoch: int) -> bool:
        """Let a record wait if it must, or give it up; False if it may go on."""
        reference = request.reference
        if reference is None and not self._order.holds_back(request):
            return False
        waiting = Waiting(request, epoch, next(self._numbers))
        self._batcher.expect(1)
        self._waiting.add(waiting)
        self._order.add(waiting)
        self._metrics.dataref_waiting_records.set(len(self._waiting))
        if reference is None:
            waiting.outcome = request
            return True
        try:
            self.threads.put(waiting, self._stores.locate(reference.url))
        except ReferenceRefusedError as error:
            self._metrics.dataref_fetches.labels("refused").inc()
            self._finish(waiting, Rejection(request, Reason.DATAREF_REFUSED, error))
        return True

    def _finish(self, waiting: Waiting, outcome: Request | Rejection) -> None:
        """Pass a record on once it is its turn, and those that waited behind it."""
        waiting.outcome = outcome
        for released in self._order.release(waiting):
            self._waiting.remove(released)
            self._pass_on(released)
            self._batcher.expect(-1)
        self._metrics.dataref_waiting_records.set(len(self._waiting))

    def _pass_on(self, waiting: Waiting) -> None:
        outcome = waiting.outcome
        assert outcome is not None
        if waiting.is_revoked:
            self._tracker.finish([outcome.polled if isinstance(outcome, Rejection) else outcome])
        elif isinstance(outcome, Request):
            self._batcher.add([outcome], [], waiting.epoch)
        else:
            if waiting.request.route.is_suspect:
                self.on_suspect_rejected()
            self._batcher.add([], [outcome], waiting.epoch)
