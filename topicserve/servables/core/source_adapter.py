"""Turns what one source says into what the next target takes (core/source_adapter.h)."""

import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from topicserve.servables.core.errors import (
    FailedPreconditionError,
    ServableError,
    as_servable_error,
)
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.source import AspiredVersionsCallback
from topicserve.servables.core.target import TargetBase

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")


class AdapterOutput(Generic[T]):
    """The far end of an adapter: what is sent waits until someone has connected."""

    def __init__(self) -> None:
        self._callback: AspiredVersionsCallback[T] | None = None
        self._is_settled = threading.Event()

    @property
    def is_connected(self) -> bool:
        """Return whether someone listens."""
        return self._callback is not None

    def set_aspired_versions_callback(self, callback: AspiredVersionsCallback[T]) -> None:
        """Connect; FailedPreconditionError the second time."""
        if self._callback is not None:
            raise FailedPreconditionError("a source can be connected to one target only")
        self._callback = callback
        self._is_settled.set()

    def wait_until_connected(self) -> None:
        """Block until someone has connected, or `close`."""
        self._is_settled.wait()

    def send(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        """Pass on what is aspired; after `close` that is no one's business any more."""
        self.wait_until_connected()
        if self._callback is not None:
            self._callback(name, versions)

    def close(self) -> None:
        """Let go anyone who waits for a connection that will not come."""
        self._is_settled.set()


class SourceAdapter(TargetBase[In], Generic[In, Out]):
    """A target and a source in one.

    What comes in waits until the outgoing side is connected. An adapter must be cheap, whatever is
    costly belongs into a loader's `load`; and it never turns versions into none for an error,
    which would unload them all: errors are passed on as data.
    """

    def __init__(self) -> None:
        super().__init__()
        self._output: AdapterOutput[Out] = AdapterOutput()

    def set_aspired_versions_callback(self, callback: AspiredVersionsCallback[Out]) -> None:
        """Say from now on to `callback` what is aspired. At most once."""
        self._output.set_aspired_versions_callback(callback)

    @abstractmethod
    def adapt(self, name: str, versions: Sequence[ServableData[In]]) -> list[ServableData[Out]]:
        """Return what goes out for one call that came in."""

    def adapt_one_version(self, version: ServableData[In]) -> ServableData[Out]:
        """Return what goes out for one version, outside of the flow of a source."""
        (adapted,) = self.adapt(version.id.name, [version])
        return adapted

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[In]]) -> None:
        """Pass on what comes in, adapted."""
        self._output.wait_until_connected()
        self._output.send(name, self.adapt(name, versions))

    def detach(self) -> None:
        """Hear nothing any more, as TargetBase says; also ends a wait for a connection."""
        self._output.close()
        super().detach()


class UnarySourceAdapter(SourceAdapter[In, Out]):
    """Adapts version by version: one at fault becomes an error in its place in the list."""

    @abstractmethod
    def convert(self, data: ServableData[In]) -> Out:
        """Return the payload made of one that has no error; whatever it raises is its error."""

    def adapt(
        self,
        name: str,  # noqa: ARG002
        versions: Sequence[ServableData[In]],
    ) -> list[ServableData[Out]]:
        """Return as many as came in, in the same order."""
        return [self._adapt_one(version) for version in versions]

    def _adapt_one(self, version: ServableData[In]) -> ServableData[Out]:
        if version.error is not None:
            return ServableData.failed(version.id, version.error)
        try:
            return ServableData(version.id, self.convert(version))
        # An adapter of a user's own may raise anything; it stays that version's error.
        except BaseException as error:
            return ServableData.failed(version.id, as_servable_error(error))


class ErrorInjectingSourceAdapter(SourceAdapter[In, Out]):
    """Makes every version fail with one error; what has failed already keeps its own."""

    def __init__(self, error: ServableError) -> None:
        super().__init__()
        self._error = error

    def adapt(
        self,
        name: str,  # noqa: ARG002
        versions: Sequence[ServableData[In]],
    ) -> list[ServableData[Out]]:
        """Return as many errors as versions came in."""
        return [ServableData.failed(one.id, one.error or self._error) for one in versions]
