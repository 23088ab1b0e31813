"""Names for versions, such as "stable" (the labels of model_servers/server_core.h)."""

import threading
from collections.abc import Callable, Iterable, Mapping

from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from topicserve.servables.core.servable_id import ServableId

Labels = Mapping[str, Mapping[str, int]]
"""Versions by label, by servable name."""


class VersionLabels:
    """What labels are to stand for, and what they stand for now.

    A label moves in two phases: first it is wanted to stand for a version, and when that version
    is available it does. So "load version 2 and call it stable" is one change, and requests for
    "stable" go to the old version until the new one can answer. With `strict`, a label can only be
    given to what is available already, as in TF Serving. Looking up takes no lock.
    """

    def __init__(self, is_available: Callable[[ServableId], bool], *, strict: bool) -> None:
        self._is_available = is_available
        self._strict = strict
        self._lock = threading.Lock()
        self._wanted: Labels = {}
        self._now: Labels | None = None

    def check(self, wanted: Labels) -> None:
        """Raise FailedPreconditionError where a label cannot be given as it is wanted."""
        if not self._strict:
            return
        for name, labels in wanted.items():
            for label, version in labels.items():
                if not self._is_available(ServableId(name, version)):
                    raise FailedPreconditionError(
                        f"Request to assign label {label!r} to version {version} of {name}, "
                        "which is not currently available: load the version first"
                    )

    def set(self, wanted: Labels) -> None:
        """Replace all labels."""
        with self._lock:
            self._wanted = wanted
            self._now = {
                name: {label: self._settle(name, label, to) for label, to in labels.items()}
                for name, labels in wanted.items()
            }

    def became_available(self, servable_id: ServableId) -> bool:
        """Move the labels that waited for this version; return whether there were any."""
        with self._lock:
            waiting = {
                label: version
                for label, version in self._wanted.get(servable_id.name, {}).items()
                if version == servable_id.version
            }
            before = self.of(servable_id.name)
            if not waiting or all(before.get(label) == waiting[label] for label in waiting):
                return False
            self._now = {**(self._now or {}), servable_id.name: {**before, **waiting}}
            return True

    def of(self, name: str) -> Mapping[str, int]:
        """Return what a servable's labels stand for now."""
        return (self._now or {}).get(name, {})

    def resolve(self, name: str, label: str) -> int:
        """Return the version; InvalidArgumentError for a label that no one knows."""
        if self._now is None:
            raise UnavailableError("version labels are not known yet: the server is starting")
        version = self._now.get(name, {}).get(label)
        if version is None:
            known = ", ".join(sorted(self.of(name))) or "none"
            raise InvalidArgumentError(
                f"Unrecognized servable version label {label!r} of {name}; known are: {known}"
            )
        return version

    def versions_of(self, name: str, label: str) -> frozenset[int]:
        """Return the versions that one label stands for, or is to stand for."""
        found = {self.of(name).get(label), self._wanted.get(name, {}).get(label)}
        return frozenset(version for version in found if version is not None)

    def protected_versions(self, name: str) -> Iterable[int]:
        """Return the versions that a label stands for, or is to stand for."""
        return {*self.of(name).values(), *self._wanted.get(name, {}).values()}

    def _settle(self, name: str, label: str, version: int) -> int:
        if self._is_available(ServableId(name, version)):
            return version
        return self.of(name).get(label, version)
