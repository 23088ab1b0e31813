"""The metadata store port.

RedisMetadataStore is the one that is shipped; tests have one in memory. Producers put, workers get,
and neither knows of Redis.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol


class PendingMetadata(Protocol):
    """An answer on its way.

    It holds one connection until `result` or `close`: exactly one of them must be called, by one
    thread.
    """

    def result(self) -> list[bytes | None]:
        """Wait for the answer and return it, in the order asked; may be called once.

        Blocks for the store's timeout at most, and raises what MetadataStore says of all its calls.
        """

    def close(self) -> None:
        """Give the answer up, if it was not read."""


class MetadataStore(Protocol):
    """Keeps each record's metadata, undecoded JSON, under its record id.

    Any thread may call it, several at once: each call has a connection of its own while it lasts.
    Every call blocks for one round trip (in chunks of bounded size) and is bounded by the store's
    timeout; `request_many` alone does not wait for the answer.

    All raise BackendUnavailableError when no one answers in time: nothing is known then, and the
    same call may be made again. AuthenticationError asks for other credentials, BackendConfigError
    for another server. A worker waits for all three once it runs, and refuses to start with the
    last two.
    """

    def put_many(self, metadata: Mapping[str, bytes]) -> None:
        """Store metadata by record id, with the store's TTL."""

    def get_many(self, record_ids: Sequence[str]) -> list[bytes | None]:
        """Return metadata in the order asked, None where there is none (or it has expired)."""

    def request_many(self, record_ids: Sequence[str]) -> PendingMetadata:
        """Ask for metadata without waiting for it: other work can go on while the store answers.

        Same as `get_many` otherwise. Must be followed by `result()` or `close()`, from any one
        thread.
        """

    def delete_many(self, record_ids: Sequence[str]) -> None:
        """Delete metadata; ids that are not there are ignored."""

    def ping(self) -> None:
        """Return if the store answers."""

    def close(self) -> None:
        """Close the connections."""
