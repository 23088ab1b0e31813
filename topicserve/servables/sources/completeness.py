"""Whether a version has been written to its end: a half-copied one must never be loaded."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from topicserve.redact import redact_address
from topicserve.servables.core.errors import as_servable_error
from topicserve.servables.sources.file_system import FileEntry, FileSystem

_logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_MANIFEST_BYTES = 16 * 1024 * 1024
# A directory that cannot be taken may take long to look at: no more than a twentieth of the time.
_REST = 20

MANIFEST = "SHA256SUMS"
"""What `sha256sum` writes: a digest, two blanks and a relative path a line."""


@dataclass(frozen=True, slots=True)
class CompletenessOptions:
    """What says that a version is complete."""

    ready_marker: str = ""
    """A file in the version's directory that its writer makes last; nothing else counts then."""
    stable_scans: int = 2
    """Without marker and manifest: so many looks at it must find the same files. 1 takes every
    version as it is seen, for writers that rename a finished directory into place."""
    scan_interval_seconds: float = 0.5
    """Looks that are closer together than this count as one: a change of the configuration, say,
    makes a source look again at once."""
    quiet_seconds: float = 2.0
    """Files that have not changed for so long by then need no second look."""


class Completeness:
    """Looks at versions, once a poll, until it has found them complete. Used by one thread at once.

    A version with a manifest is complete when all files in it are there with their digests: at
    once, and never when they differ. Its directory need not be scanned twice.
    """

    def __init__(
        self,
        file_system: FileSystem,
        options: CompletenessOptions,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file_system = file_system
        self._options = options
        self._wall_clock = wall_clock
        self._clock = clock
        self._complete: set[str] = set()
        self._seen: dict[str, _Sighting] = {}
        self._look_again_at: dict[str, float] = {}
        self._complaints: dict[str, str] = {}

    def is_complete(self, path: str) -> bool:
        """Look at a version; True from the moment on at which it was found complete."""
        if path in self._complete:
            return True
        started = self._clock()
        if started < self._look_again_at.get(path, started):
            return False
        try:
            is_complete = self._look_at(path)
        # Whatever is wrong with one version, those before it can be served.
        except Exception as error:
            self._complain(path, str(as_servable_error(error)))
            self._look_again_at[path] = self._clock() + _REST * (self._clock() - started)
            return False
        if is_complete:
            self._complete.add(path)
            self._seen.pop(path, None)
            self._complaints.pop(path, None)
        return is_complete

    @property
    def complaint(self) -> str:
        """Return what is wrong with one of the versions that are left out; "" for none known."""
        return next(reversed(self._complaints.values()), "")[:500]

    def forget_all_but(self, paths: Iterable[str]) -> None:
        """Forget what is gone: should it come back, it is something new."""
        present = set(paths)
        self._complete &= present
        self._seen = _only(self._seen, present)
        self._look_again_at = _only(self._look_again_at, present)
        self._complaints = _only(self._complaints, present)

    def _look_at(self, path: str) -> bool:
        files = self._file_system.list_files(path)
        if self._options.stable_scans <= 1 and not self._options.ready_marker:
            return True
        names = {file.path for file in files}
        if self._options.ready_marker:
            return self._options.ready_marker in names
        before = self._seen.get(path)
        seen = self._seen[path] = self._sighting(files, before)
        if MANIFEST in names:
            # Digests take long to make; the same files would give the same answer.
            is_changed = before is None or before.files != files
            return is_changed and self._matches_manifest(path, names)
        return bool(files) and (seen.scans >= self._options.stable_scans or self._is_quiet(files))

    def _sighting(self, files: list[FileEntry], before: "_Sighting | None") -> "_Sighting":
        now = self._clock()
        if before is None or before.files != files:
            return _Sighting(files, 1, now)
        if now - before.counted_at < self._options.scan_interval_seconds:
            return before
        return _Sighting(files, before.scans + 1, now)

    def _is_quiet(self, files: list[FileEntry]) -> bool:
        changes = [file.changed_at for file in files]
        latest = max((one for one in changes if one is not None), default=None)
        if latest is None or None in changes:
            return False
        return latest + self._options.quiet_seconds <= self._wall_clock()

    def _matches_manifest(self, path: str, names: set[str]) -> bool:
        manifest_path = self._file_system.join(path, MANIFEST)
        manifest = self._file_system.read(manifest_path, MAX_MANIFEST_BYTES).decode(
            "utf-8", "replace"
        )
        lines = [line.split(maxsplit=1) for line in manifest.splitlines() if line.strip()]
        digests: dict[str, str] = {}
        for line in lines:
            if len(line) != 2:
                self._complain(path, f"a line of {MANIFEST} is no digest and path: {line}")
                return False
            digest, name = line[0], line[1].removeprefix("*").removeprefix("./")
            if name not in names:
                return False
            if name not in digests:
                digests[name] = self._file_system.sha256(self._file_system.join(path, name))
            if digests[name] != digest.lower():
                self._complain(path, f"{name} differs from its digest in {MANIFEST}")
                return False
        return bool(lines)

    def _complain(self, path: str, complaint: str) -> None:
        """Log what is wrong with a version when that changes, not at every look."""
        if self._complaints.get(path) != complaint:
            self._complaints[path] = complaint
            _logger.warning("version %s is left out: %s", redact_address(path), complaint[:500])


def _only(found: dict[str, T], present: set[str]) -> dict[str, T]:
    return {path: value for path, value in found.items() if path in present}


@dataclass(frozen=True, slots=True)
class _Sighting:
    """What was found the last time, and how many times in a row."""

    files: list[FileEntry]
    scans: int
    counted_at: float
