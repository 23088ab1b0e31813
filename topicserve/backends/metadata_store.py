"""The metadata store port."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class MetadataStore(Protocol):
    """Keeps each record's metadata, undecoded JSON, under its record id. Any thread may call it.

    Every call is one round trip (in chunks of bounded size) and is bounded by the store's timeout.
    All raise BackendUnavailableError when nobody answers in time, AuthenticationError when
    refused, BackendConfigError when the server is not what it should be.
    """

    def put_many(self, metadata: Mapping[str, bytes]) -> None:
        """Store metadata by record id, with the store's TTL."""

    def get_many(self, record_ids: Sequence[str]) -> list[bytes | None]:
        """Return metadata in the order asked, None where there is none (or it has expired)."""

    def delete_many(self, record_ids: Sequence[str]) -> None:
        """Delete metadata; ids that are not there are ignored."""

    def ping(self) -> None:
        """Return if the store answers."""

    def close(self) -> None:
        """Close the connections."""
