"""Follows results that lie elsewhere, for the programs that read them."""

import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from topicserve.backends.errors import BackendConfigError, BackendError
from topicserve.backends.references.errors import BodyStoreError, ReferenceRefusedError
from topicserve.backends.references.header import read_reference
from topicserve.backends.references.reading import ReadLimits
from topicserve.backends.references.stores import BodyStores
from topicserve.backoff import Backoff
from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord

DEFAULT_MAX_BYTES = 256 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 30.0
_BACKOFF = Backoff(0.05, 2.0, 0.2)


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
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Allow URLs under these prefixes, such as "s3://predictions/large".

        `timeout_seconds` is for one body, with all tries. Raises BackendConfigError for what is no
        prefix, and for a scheme whose package is not installed.
        """
        if isinstance(allow, str):
            raise BackendConfigError(f"allow must be a list of URLs, found the text {allow!r}")
        try:
            self._stores = BodyStores(allow)
        except ReferenceRefusedError as error:
            raise BackendConfigError(f"allow: {error}") from None
        self._stores.prepare()
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep

    def follow(self, record: KafkaRecord) -> KafkaRecord:
        """Return a record with its body, wherever that lies; blocks while it is read.

        Raises InvalidRecordError for a URL that is not allowed, a body that is missing or too
        large, and a wrong hash; BackendUnavailableError where the store does not answer in time.
        """
        reference = None if record.value else read_reference(record.headers)
        if reference is None:
            return record
        try:
            body = self._read(reference.url, reference.sha256)
        except BodyStoreError:
            raise
        except BackendError as error:
            raise InvalidRecordError(names.DATAREF, str(error)) from None
        return replace(record, value=body)

    def _read(self, url: str, sha256: str | None) -> bytes:
        location = self._stores.locate(url)
        limits = ReadLimits(self._max_bytes, self._timeout_seconds)
        for pause in _BACKOFF.pauses():
            try:
                return self._stores.read(location, sha256, limits)
            except BodyStoreError as error:
                try:
                    left = limits.remaining_seconds()
                except BodyStoreError:
                    raise error from None
                self._sleep(min(pause, left))
        raise AssertionError("pauses() has no end")


def refers(record: KafkaRecord) -> bool:
    """Return whether a record's body lies elsewhere, so that following it blocks."""
    return not record.value and any(name == names.DATAREF for name, _ in record.headers)
