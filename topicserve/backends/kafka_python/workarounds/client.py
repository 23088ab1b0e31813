"""Workarounds for bugs of kafka-python 3.0.12.

All were found by the conformance suite, end to end or in a profile. Each looks at private state,
for want of another place, and does nothing when all is well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import errors
from kafka.net.compat import KafkaNetClient
from kafka.net.selector import NetworkSelector

from topicserve.backends.kafka_python.workarounds.sockets import SELECTOR

# The loop warns of a step that took longer, by default 0.1 s, as of a fault of its own. Beside
# threads that hold the interpreter's lock, as while a model loads, any step takes that.
SLOW_STEP_SECONDS = 10.0


def unpark_records(client: Any) -> None:
    """Before a poll: let records that were parked by a pause come back after the resume.

    The fetcher takes parked records back only while it holds none of another partition, but asks
    whether that is None, and keeps what it has used up. Such a partition is neither returned nor
    fetched any more.
    """
    fetcher = client._fetcher  # noqa: SLF001 - see above
    if fetcher._paused_partition_records and not fetcher._next_partition_records:  # noqa: SLF001
        fetcher._next_partition_records = None  # noqa: SLF001


def keep_joining(client: Any) -> None:
    """After a poll: have the next one go on with a join that this one did not see the end of.

    A join that ends between two polls is forgotten, though the group counts on it: the member asks
    for another rebalance, and members that are polled in turn may go on so for ever. (That is also
    why short polls never join.) And what new metadata asks for is no longer asked for once the
    assignment is computed: no one takes that in, and heartbeats stay off.
    """
    coordinator = client._coordinator  # noqa: SLF001 - see above
    join = coordinator._join_task  # noqa: SLF001
    if join is None:
        return
    if not isinstance(join, _Join):
        coordinator._join_task = _Join(join)  # noqa: SLF001
    if not coordinator.need_rejoin():
        coordinator.request_rejoin()


class _Join:
    """A join that is done only when it has failed: what it brought is still waited for."""

    def __init__(self, future: Any) -> None:
        self._future = future
        self.add_callback = future.add_callback
        self.add_errback = future.add_errback

    @property
    def is_done(self) -> bool:
        return bool(self._future.failed())


def keep_requests(client: Any) -> None:
    """To a new producer: a transactional request that finds its coordinator away is kept.

    The sender puts such a request back when `await_ready` says no. But that raises, and
    then the request is dropped: no one sends it and no one ends it, so that after a broker's
    restart a transaction hangs for ever, while the sender spins on records that it may not send.
    """
    connections = client._sender._client  # noqa: SLF001 - see above
    await_ready = connections.await_ready

    def is_ready(*args: Any, **kwargs: Any) -> bool:
        try:
            return bool(await_ready(*args, **kwargs))
        except errors.KafkaError:
            return False

    connections.await_ready = is_ready


def retry_timed_out_requests(client: Any) -> None:
    """To a new producer: a transactional request that no one answers in time is sent again.

    The client closes the connection and takes the timeout for fatal, as if its transactional id
    were another's, although it looks the coordinator up and asks again where a connection is lost.
    """
    manager = client._transaction_manager  # noqa: SLF001 - see above
    if manager is None:
        return
    next_request_handler = manager.next_request_handler

    def next_retrying(*args: Any) -> Any:
        handler = next_request_handler(*args)
        if handler is not None and "on_complete" not in vars(handler):
            handler.on_complete = _retrying(handler.on_complete)
        return handler

    manager.next_request_handler = next_retrying


def forget_aborted_offsets(client: Any) -> None:
    """Before a transaction begins: forget offsets that the group refused to the one before.

    The client keeps what `TxnOffsetCommit` was refused, through the abort, and sends it along with
    the next transaction's offsets. Those are of partitions that others may own by now: it would
    take the group's offsets back, and have records answered twice.
    """
    manager = client._transaction_manager  # noqa: SLF001 - see above
    with manager._lock:  # noqa: SLF001
        manager._pending_txn_offset_commits.clear()  # noqa: SLF001


def commit_no_topic_that_is_gone(client: Any) -> None:
    """To a new consumer: a commit for a topic that was deleted is refused at once.

    The client repeats it until its time is up. A topic that is created again meanwhile would be
    read from the old one's offset.
    """
    coordinator = getattr(client, "_coordinator", None)
    if coordinator is None:
        return  # it has no group
    send = coordinator._send_offset_commit_request  # noqa: SLF001

    async def send_once(offsets: Any) -> Any:
        try:
            return await send(offsets)
        except errors.UnknownTopicOrPartitionError as error:
            raise errors.CommitFailedError(str(error)) from error

    coordinator._send_offset_commit_request = send_once  # noqa: SLF001


def _retrying(on_complete: Callable[[int, Any], None]) -> Callable[[int, Any], None]:
    def completed(correlation_id: int, response: Any) -> None:
        if isinstance(response, errors.RequestTimedOutError):
            response = errors.KafkaConnectionError(str(response))
        on_complete(correlation_id, response)

    return completed


class GivenUpError(errors.KafkaError):  # type: ignore[misc]  # the library is untyped
    """A record was not written because another one failed."""


def tell_given_up(client: Any) -> None:
    """To a new producer: records that are given up because another failed, fail as such.

    They would fail with the error of the one record: if that was too large, all the others that
    wait to be sent, in a transaction or not, would be taken for too large as well.
    """
    accumulator = client._accumulator  # noqa: SLF001 - see above
    for name in ("abort_undrained_batches", "abort_batches"):
        setattr(accumulator, name, _telling(getattr(accumulator, name)))


def _telling(abort: Callable[[Exception], None]) -> Callable[[Exception], None]:
    return lambda error: abort(GivenUpError(f"given up after: {error}"))


class CoalescedWakeups(NetworkSelector):  # type: ignore[misc]  # the library is untyped
    """An event loop that is woken once for all that asked while it was on its way.

    The producer asks with each record that is sent behind a full batch, so with nearly all of a
    transaction's, and each time a byte is sent, and an I/O thread runs that finds nothing new.
    """

    def __init__(self, **configs: Any) -> None:
        ours = {"slow_task_threshold_secs": SLOW_STEP_SECONDS}
        super().__init__(**{**ours, **configs, "selector": SELECTOR})
        self._is_woken = False

    def wakeup(self) -> None:
        """Have the loop look again at what there is to do. Any thread may call."""
        if not self._is_woken:
            self._is_woken = True
            super().wakeup()

    def run(self, coro: Any, *args: Any) -> Any:
        """Return what becomes of a coroutine, or raise its error.

        That error would refer to itself, through the call that raises it. With it, all that its
        caller had in hand lived on until a garbage collection: after each poll without records the
        answer to a fetch, of up to 16 MiB.
        """
        try:
            return super().run(coro, *args)
        except errors.KafkaError as error:
            raise error.with_traceback(None)  # noqa: B904 - it is the same one

    def _process_events(self, event_list: Any) -> None:
        try:
            super()._process_events(event_list)
        finally:
            # Behind the reading, never before: who was told meanwhile that the loop is woken has
            # left its work where the loop looks next.
            self._is_woken = False


class BatchedWakeups(KafkaNetClient):  # type: ignore[misc]  # the library is untyped
    """A client whose I/O thread may sleep until a whole list of records is ready for it.

    What the loop itself is given to run, such as a look-up of metadata, wakes it all the same.
    """

    _is_held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wake the thread once, at the end. Any thread may call; two at a time only wake more."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self.wakeup()

    def wakeup(self) -> None:
        """Have the thread look for records to send, now or as soon as all are ready."""
        if not self._is_held:
            super().wakeup()
