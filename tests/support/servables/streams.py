"""Sources and targets that a test stands at either end with."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.core.target import TargetBase

T = TypeVar("T")
Said = tuple[str, list[ServableData[T]]]


class Heard(TargetBase[T], Generic[T]):
    """A target that notes every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Said[T]] = []

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        self.calls.append((name, list(versions)))

    def take(self) -> list[Said[T]]:
        """Return what was heard since the last time."""
        heard, self.calls = self.calls, []
        return heard


class Saying(Generic[T]):
    """A source that says what the test says, once it is connected."""

    say: Callable[[str, Sequence[ServableData[T]]], None]

    def set_aspired_versions_callback(
        self, callback: Callable[[str, Sequence[ServableData[T]]], None]
    ) -> None:
        self.say = callback


def a_path(name: str, version: int, path: str) -> ServableData[StoragePath]:
    """Return where a version lies."""
    return ServableData(ServableId(name, version), StoragePath(path))
