"""One servable whose base path is looked at again and again."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from topicserve.redact import redact_address
from topicserve.servables.core.errors import as_servable_error
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.server.servable_config import VersionPolicy, VersionPolicyKind
from topicserve.servables.sources.completeness import Completeness, CompletenessOptions
from topicserve.servables.sources.file_system import FileSystem, file_system_of
from topicserve.servables.sources.version_names import beside_versions, what_was_seen
from topicserve.servables.sources.version_selection import parse_versions, select_versions

_logger = logging.getLogger(__name__)

Emit = Callable[[str, Sequence[ServableData[StoragePath]]], None]


@dataclass(frozen=True, slots=True)
class ServableToMonitor:
    """What to look for, and where."""

    name: str
    base_path: str
    version_policy: VersionPolicy = field(default_factory=VersionPolicy)
    protected_versions: frozenset[int] = frozenset()
    """Aspired as well while they are there, whatever the policy says: names stand for them."""
    reserved_versions: frozenset[int] = frozenset()
    """Not counted among the latest: a canary's, a shadow's."""


class MonitoredServable:
    """Remembers what it said last, and says something only when that changes.

    Looking takes long where a file system hangs, so it is done under no lock; one look at a time
    is the caller's affair. What a look finds counts only if the servable was neither removed nor
    reconfigured meanwhile.
    """

    def __init__(
        self,
        servable: ServableToMonitor,
        options: CompletenessOptions,
        emit: Emit,
        *,
        versions_always_present: bool,
    ) -> None:
        self._options = options
        self._emit = emit
        self._versions_always_present = versions_always_present
        self._lock = threading.Lock()
        self._place = _Place.of(servable, options)
        self._is_removed = False
        self._said: list[ServableData[StoragePath]] | None = None
        self._has_found = False
        self._complaint = ""
        self.problem = ""
        """What was missing at the last look, such as one of several pinned versions, or why it
        failed."""

    def reconfigure(self, servable: ServableToMonitor) -> None:
        """Look for something else from the next look on, and say then what is aspired."""
        with self._lock:
            self._said = None
            if servable.base_path == self._place.servable.base_path:
                self._place = replace(self._place, servable=servable)
            else:
                self._place = _Place.of(servable, self._options)

    def republish(self) -> None:
        """Say at the next look what is aspired, even if that has not changed."""
        with self._lock:
            self._said = None

    def remove(self) -> None:
        """Aspire nothing any more, now and for good."""
        with self._lock:
            self._is_removed = True
            self._emit(self._place.servable.name, [])

    def poll(self) -> int:
        """Look once and say what is aspired; return how many versions that are.

        Raises ServableError where the base path cannot be read; what was said before stays then.
        """
        place = self._place
        try:
            directories = place.directories()
            aspired = place.find(directories)
            missing = place.missing(aspired, directories)
        # A file system may raise anything; it is this servable's error alone.
        except Exception as error:
            problem = as_servable_error(error)
            self.problem = str(problem)
            self._complain(f"it cannot be polled: {problem}", has_versions=False)
            raise problem from error
        self.problem = missing
        self._complain(missing or place.ignored(directories), has_versions=bool(aspired))
        self._has_found = self._has_found or bool(aspired)
        with self._lock:
            if place is self._place and not self._is_removed:
                self._say(aspired)
        return len(aspired)

    def _say(self, aspired: list[ServableData[StoragePath]]) -> None:
        if aspired == self._said or (not aspired and self._versions_always_present):
            return
        self._emit(self._place.servable.name, aspired)
        self._said = aspired

    def _complain(self, complaint: str, *, has_versions: bool) -> None:
        """Log what is wrong when that changes, not at every look; and what serves meanwhile."""
        if complaint == self._complaint:
            return
        self._complaint = complaint
        servable = self._place.servable
        if complaint:
            loaded = "" if has_versions else "; nothing is loaded yet"
            if self._has_found:
                loaded = "; what is loaded stays loaded"
            _logger.warning("servable %s: %s%s", servable.name, complaint, loaded)
        else:
            _logger.info("servable %s: its versions are found again", servable.name)


@dataclass(frozen=True, slots=True)
class _Place:
    """What is looked for, and what is known of it. Replaced as a whole."""

    servable: ServableToMonitor
    file_system: FileSystem
    completeness: Completeness

    @classmethod
    def of(cls, servable: ServableToMonitor, options: CompletenessOptions) -> "_Place":
        file_system = file_system_of(servable.base_path)
        return cls(servable, file_system, Completeness(file_system, options))

    def directories(self) -> list[str]:
        """Return the directories under the base path, versions or not."""
        return self.file_system.list_directories(self.servable.base_path)

    def find(self, directories: Sequence[str]) -> list[ServableData[StoragePath]]:
        """Look for what is aspired now."""
        servable = self.servable
        names = parse_versions(directories)
        candidates = {
            version: [self.file_system.join(servable.base_path, name) for name in found]
            for version, found in names.items()
        }
        self.completeness.forget_all_but(
            path for candidate in candidates.values() for path in candidate
        )
        paths: dict[int, str] = {}

        def is_complete(version: int) -> bool:
            # One that is being written does not hide another one of its number.
            complete = filter(self.completeness.is_complete, candidates[version])
            path = next(complete, None)
            if path is not None:
                paths[version] = path
            return path is not None

        selected = select_versions(
            candidates,
            servable.version_policy,
            servable.protected_versions,
            is_complete,
            servable.reserved_versions,
        )
        return [
            ServableData(ServableId(servable.name, version), StoragePath(paths[version]))
            for version in selected
        ]

    def ignored(self, directories: Sequence[str]) -> str:
        """Return which directories look like versions and are none; empty where all is well."""
        return beside_versions(redact_address(self.servable.base_path), directories)

    def missing(self, aspired: list[ServableData[StoragePath]], directories: Sequence[str]) -> str:
        """Return what should be there and is not; empty where nothing is missing."""
        base_path, shown = self.servable.base_path, redact_address(self.servable.base_path)
        found = {one.id.version for one in aspired}
        if not found:
            seen = self.completeness.complaint
            if not parse_versions(directories):
                files = self.file_system.list_file_names(base_path)
                seen = what_was_seen(shown, directories, files)
            none = f"there is no complete version under base path {shown}"
            return f"{none}: {seen}" if seen else none
        if self.servable.version_policy.kind is VersionPolicyKind.SPECIFIC:
            missing = sorted(set(self.servable.version_policy.versions) - found)
            if missing:
                return f"versions {missing} are not under {shown}, or incomplete"
        return ""
