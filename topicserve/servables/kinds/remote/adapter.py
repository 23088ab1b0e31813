"""Loaders of remote models: those of one adapter share one connection."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from topicserve.servables.core.concurrency.shared_state import SharedState
from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath


class Channel(Protocol):
    """What a kind calls its server with."""

    @property
    def close(self) -> Callable[[], None]:
        """Close it."""


ChannelT = TypeVar("ChannelT", bound=Channel)


def make_remote_adapter(
    open_channel: Callable[[], ChannelT],
    load: Callable[[StoragePath, ChannelT, Callable[[], None]], object],
    extra: str,
) -> SourceAdapter[StoragePath, Loader]:
    """Return what makes loaders of remote models.

    The connection is made by the first load, by `open_channel`, and closed by the last unload.
    `load` makes a servable of a version's path; it is given the connection, and what to call when
    the servable is closed. `extra` is named where gRPC cannot be imported.
    """

    def opened() -> ChannelT:
        try:
            return open_channel()
        except ImportError as error:
            raise FailedPreconditionError(
                f"gRPC cannot be imported ({error}); install topicserve[{extra}]"
            ) from error

    connection = SharedState(opened, lambda channel: channel.close())

    def load_version(path: StoragePath) -> object:
        channel = connection.acquire()
        try:
            return load(path, channel, connection.release)
        except BaseException:
            connection.release()
            raise

    return SimpleLoaderSourceAdapter(load_version)
