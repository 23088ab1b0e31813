"""Follows results that lie elsewhere, for the programs that read them."""

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial

from msgspec.structs import replace

from topicserve.backends.errors import BackendConfigError, BackendError
from topicserve.backends.references.allow_list import Location
from topicserve.backends.references.daemon_threads import DaemonThreads
from topicserve.backends.references.errors import (
    BodyStoreError,
    BodyTimeoutError,
    ReferenceRefusedError,
    UrlNotAllowedError,
)
from topicserve.backends.references.header import read_reference
from topicserve.backends.references.reading import ReadLimits
from topicserve.backends.references.stores import LIMITED_SCHEMES, BodyStores
from topicserve.backoff import Backoff
from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord

DEFAULT_MAX_BYTES = 256 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 30.0
THREADS = 8
"""For file systems of fsspec: bodies that are read at once with one reader."""
_BACKOFF = Backoff(0.05, 2.0, 0.2)
_SHOWN_CHARACTERS = 128


class BodyNotAllowedError(InvalidRecordError):
    """A record's body lies under no prefix that this reader may read."""


class BodyRead:
    """One read of a body. Any thread may look at it and abandon it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: ReadLimits | None = None
        self._abandoned = threading.Event()
        self.url = ""
        """What is read, without its query; empty before the read begins."""
        self.said = ""
        """Why the last try failed; empty where none has."""
        self.is_over = False
        """Whether the body is read, or given up: there is nothing to abandon."""

    @property
    def progress(self) -> str:
        """Return what is known of it, for the message of a caller that waits no longer."""
        if not self.url:
            return "waits for other bodies to be read"
        return f"is read from {self.url}: {self.said or 'the store has not answered yet'}"

    def begin(self, url: str, limits: ReadLimits) -> None:
        """Note what is read; ends at once where it was abandoned before."""
        with self._lock:
            self.url, self._limits = url, limits
        if self._abandoned.is_set():
            limits.abandon()

    def abandon(self) -> None:
        """Let the read fail at once."""
        self._abandoned.set()
        with self._lock:
            limits = self._limits
        if limits is not None:
            limits.abandon()

    def wait(self, seconds: float) -> None:
        """Wait before the next try, unless it is abandoned."""
        self._abandoned.wait(seconds)


class BodyReader:
    """Reads the bodies of results that a worker stored, under the prefixes that it is given.

    Any thread may use it, and several readers one. URLs under no prefix are never read: a topic's
    readers need not trust all who write to it.
    """

    def __init__(
        self,
        allow: Sequence[str],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Allow URLs under these prefixes, such as "s3://predictions/large".

        `timeout_seconds` is for one body, with all tries. A file system of fsspec that connects as
        it is opened, such as FTP's, may take some seconds here. Raises BackendConfigError for a
        text that is no prefix, and for a scheme whose package is not installed.
        """
        if isinstance(allow, str):
            raise BackendConfigError(f"allow must be a list of URLs, found the text {allow!r}")
        try:
            self._stores = BodyStores(allow)
            self._stores.prepare()
        except (ReferenceRefusedError, BackendConfigError) as error:
            raise BackendConfigError(f"allow: {error}") from None
        self._threads = DaemonThreads(THREADS, "topicserve-store")
        weakref.finalize(self, self._threads.close)
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep
        self._clock = clock

    def follow(self, record: KafkaRecord, read: BodyRead | None = None) -> KafkaRecord:
        """Return a record with its body, wherever that lies; blocks while it is read.

        Raises InvalidRecordError for a URL that is not allowed, a body that is missing or too
        large, and a wrong hash; BackendUnavailableError where the store does not answer in time, or
        `read` is abandoned.
        """
        reference = None if record.value else read_reference(record.headers)
        if reference is None:
            return record
        url, read = reference.url, read or BodyRead()
        try:
            location = self._stores.locate(url)
            url = location.url
            body = self._read(record, location, reference.sha256, read)
        except BodyStoreError:
            raise
        except UrlNotAllowedError as error:
            raise BodyNotAllowedError(names.DATAREF, str(error)) from None
        except BackendError as error:
            said = str(error)
            problem = said if url in said else f"{url}: {said}"
            raise InvalidRecordError(names.DATAREF, problem) from None
        finally:
            read.is_over = True
        return replace(record, value=body)

    def _read(
        self, record: KafkaRecord, location: Location, sha256: str | None, read: BodyRead
    ) -> bytes:
        limits = ReadLimits(self._max_bytes, self._timeout_seconds, clock=self._clock)
        read.begin(location.url, limits)
        sleep = self._sleep or read.wait
        for pause in _BACKOFF.pauses():
            try:
                return self._read_once(location, sha256, limits)
            except BodyTimeoutError:
                break
            except BodyStoreError as error:
                read.said = str(error)
            try:
                sleep(min(pause, limits.remaining_seconds()))
            except BodyTimeoutError:
                break
        raise BodyStoreError(
            f"{place_of(record)}: {location.url} was not read within {self._timeout_seconds:g} s: "
            f"{read.said or 'the store has not answered'}"
        )

    def _read_once(self, location: Location, sha256: str | None, limits: ReadLimits) -> bytes:
        read = partial(self._stores.read, location, sha256, limits)
        if location.scheme in LIMITED_SCHEMES:
            return read()
        # A call of fsspec has no time limit: it is left on its thread where its time is over.
        call = self._threads.submit(read)
        limits.closes_with(partial(self._leave, call))
        try:
            return call.result(limits.remaining_seconds())
        except TimeoutError:
            self._threads.leave(call)
            raise BodyTimeoutError(f"{location.url} did not answer") from None

    def _leave(self, call: Future[bytes]) -> None:
        """Let the one that waits for a call go on."""
        self._threads.leave(call)
        with suppress(InvalidStateError):
            call.set_exception(BodyTimeoutError("its caller waits no longer"))


def place_of(record: KafkaRecord) -> str:
    """Return what a message says of a record: its id, and where it is."""
    record_id = next((value for name, value in record.headers if name == names.ID), None)
    shown = (record_id or b"without id").decode(errors="replace")[:_SHOWN_CHARACTERS]
    return f"record {shown} ({record.topic}-{record.partition} offset {record.offset})"


def refers(record: KafkaRecord) -> bool:
    """Return whether a record's body lies elsewhere, so that following it blocks."""
    return not record.value and any(name == names.DATAREF for name, _ in record.headers)
