"""Where aspired versions come from (TF Serving: core/source.h)."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar

from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.target import Target

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

AspiredVersionsCallback: TypeAlias = Callable[[str, Sequence[ServableData[T]]], None]


class Source(Protocol[T]):
    """Says which versions of a stream should be loaded now.

    A call of the callback is about one stream, and replaces all that was said of that stream
    before: what is not in the list is not wanted, and an empty list wants nothing. Streams are
    independent. The same version may be named again; the receiver keeps the payload that
    it has. Calls may come from any thread.
    """

    def set_aspired_versions_callback(self, callback: AspiredVersionsCallback[T]) -> None:
        """Say from now on to `callback` what is aspired. At most once."""


def connect_source_to_target(source: Source[T], target: Target[T]) -> None:
    """Let the target hear what the source aspires."""
    source.set_aspired_versions_callback(target.get_aspired_versions_callback())
