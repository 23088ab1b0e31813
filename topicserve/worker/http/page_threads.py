"""Threads that make pages for an event loop which must not wait."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from topicserve.errors import TopicserveError
from topicserve.worker.http.pages import Page

MAX_PAGES = 16

_Call = tuple[Callable[[], Page], asyncio.AbstractEventLoop, "asyncio.Future[Page]"]


class TooManyPagesError(TopicserveError):
    """All threads are busy, and enough pages wait."""


class PageThreads:
    """Daemon threads: unlike an executor's, one that hangs does not keep the process from ending.

    They are started with the first page.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._count = threads
        self._threads: list[threading.Thread] = []
        self._waiting: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pages = 0

    async def call(self, make: Callable[[], Page]) -> Page:
        """Return the page; raise what `make` raises, or TooManyPagesError at once."""
        with self._lock:
            if self._pages >= MAX_PAGES:
                raise TooManyPagesError("too many requests at the same time; try again")
            self._pages += 1
        self._start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Page] = loop.create_future()
        self._waiting.put((make, loop, done))
        return await done

    def close(self) -> None:
        """Let the threads end; the pages that they are making are not waited for."""
        for _ in self._threads:
            self._waiting.put(None)

    def _start(self) -> None:
        while len(self._threads) < self._count:
            number = len(self._threads)
            thread = threading.Thread(target=self._run, name=f"{self._name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while (call := self._waiting.get()) is not None:
            make, loop, done = call
            try:
                page, error = make(), None
            # A kind of a user's own may raise anything, SystemExit included: it ends no thread.
            except BaseException as raised:
                page, error = None, _as_exception(raised)
            with self._lock:
                self._pages -= 1
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_complete, done, page, error)


def _as_exception(raised: BaseException) -> Exception:
    """Return what an asyncio future can carry, and what ends no loop."""
    if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
        return raised
    error = RuntimeError(f"the page raised {type(raised).__name__}")
    error.__cause__ = raised
    return error


def _complete(done: "asyncio.Future[Page]", page: Page | None, error: Exception | None) -> None:
    if done.done():
        return  # the client is gone
    if error is not None:
        done.set_exception(error)
    elif page is not None:
        done.set_result(page)
