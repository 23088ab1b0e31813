"""Aspires the versions found under base paths (file_system_storage_path_source.h)."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from topicserve.redact import redact_address
from topicserve.servables.core.concurrency.executor import Executor, ThreadPoolExecutor
from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServableError,
)
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.source import AspiredVersionsCallback
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.sources.completeness import CompletenessOptions
from topicserve.servables.sources.monitored_servable import MonitoredServable, ServableToMonitor

_logger = logging.getLogger(__name__)

# A base path on a file system that hangs takes one of them; the others go on.
POLL_THREADS = 4


@dataclass(frozen=True, slots=True)
class FileSystemStoragePathSourceConfig:
    """What to look for and how often."""

    servables: tuple[ServableToMonitor, ...]
    file_system_poll_wait_seconds: float = 1.0
    """0: once, and after each change of the configuration. Below 0: only when `poll` is called."""
    servable_versions_always_present: bool = True
    """Never aspire nothing because nothing is found: a base path may be emptied by accident."""
    fail_if_zero_versions_at_startup: bool = False
    """Refuse a configuration with a servable of which nothing is there."""
    completeness: CompletenessOptions = field(default_factory=CompletenessOptions)


class FileSystemStoragePathSource:
    """Looks at every servable's base path, each for itself, and says which versions are aspired.

    A base path that is missing, empty, slow or broken neither unloads what is loaded nor keeps the
    others waiting. Versions are directories whose names are digits. Once `start`ed, it looks from
    threads of its own; nothing is said before it is connected.
    """

    def __init__(self, config: FileSystemStoragePathSourceConfig) -> None:
        self._config = config
        self._callback: AspiredVersionsCallback[StoragePath] | None = None
        self._lock = threading.Lock()
        self._monitored: dict[str, MonitoredServable] = {}
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._pool: Executor | None = None
        self._being_polled: set[str] = set()
        self.update_config(config)

    def set_aspired_versions_callback(self, callback: AspiredVersionsCallback[StoragePath]) -> None:
        """Say from now on to `callback` what is aspired. At most once."""
        if self._callback is not None:
            raise FailedPreconditionError("a source can be connected to one target only")
        self._callback = callback
        self._wake.set()

    def update_config(self, config: FileSystemStoragePathSourceConfig) -> None:
        """Look for other servables from now on.

        Those that are not named any more are aspired no more, at once; those that still are see no
        gap. InvalidArgumentError for a changed poll period, a name that is there twice or, with
        fail_if_zero_versions_at_startup, a missing base path; NotFoundError with it for one
        without versions. Then nothing has changed.
        """
        self._check(config)
        with self._lock:
            self._config = config
            wanted = {servable.name: servable for servable in config.servables}
            removed = [
                self._monitored.pop(name) for name in list(self._monitored) if name not in wanted
            ]
            for name, servable in wanted.items():
                if name in self._monitored:
                    self._monitored[name].reconfigure(servable)
                else:
                    self._monitored[name] = self._monitor(servable)
        if self._callback is not None:
            for monitored in removed:
                monitored.remove()
        self._wake.set()

    def problem(self, name: str) -> str:
        """Return what was missing when a servable was last looked at, or why that failed.

        Empty where nothing was. A pinned version may be missing while others are there.
        """
        with self._lock:
            monitored = self._monitored.get(name)
        return "" if monitored is None else monitored.problem

    def republish(self, name: str) -> None:
        """Look again, now, and say what is aspired even if it has not changed."""
        with self._lock:
            monitored = self._monitored.get(name)
        if monitored is not None:
            monitored.republish()
            self._wake.set()

    def poll(self) -> None:
        """Look at every servable once, on the calling thread.

        All are looked at, whatever happens to one; then an InvalidArgumentError tells of those
        that could not be.
        """
        if self._callback is None:
            return
        errors = []
        for name, monitored in self._named():
            try:
                monitored.poll()
            except ServableError as error:
                errors.append(f"servable {name}: {error}")
        if errors:
            raise InvalidArgumentError("; ".join(errors))

    def start(self) -> None:
        """Look by itself from now on, until `close`."""
        if self._config.file_system_poll_wait_seconds < 0 or self._thread is not None:
            return
        self._pool = ThreadPoolExecutor(POLL_THREADS, "servable-poll")
        self._thread = threading.Thread(target=self._run, name="servable-source", daemon=True)
        self._thread.start()

    def close(self, timeout_seconds: float) -> None:
        """Look no more. A look that hangs is waited for so long, and its find is dropped."""
        self._is_stopping = True
        self._wake.set()
        deadline = time.monotonic() + timeout_seconds
        if self._thread is not None and self._pool is not None:
            self._thread.join(timeout_seconds)
            self._pool.close(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        interval = self._config.file_system_poll_wait_seconds
        while not self._is_stopping:
            self._wake.clear()
            if self._callback is not None:
                for name, monitored in self._named():
                    self._poll_in_pool(name, monitored)
            self._wake.wait(interval or None)

    def _poll_in_pool(self, name: str, monitored: MonitoredServable) -> None:
        """Look from another thread, unless the last look is not over yet."""
        assert self._pool is not None
        with self._lock:
            if name in self._being_polled:
                return
            self._being_polled.add(name)
        self._pool.submit(name, lambda: self._poll_and_forget_error(name, monitored))

    def _poll_and_forget_error(self, name: str, monitored: MonitoredServable) -> None:
        try:
            if not self._is_stopping:
                monitored.poll()
        except ServableError:
            pass  # logged when it came, and kept with the servable
        finally:
            with self._lock:
                self._being_polled.discard(name)

    def _named(self) -> list[tuple[str, MonitoredServable]]:
        with self._lock:
            return list(self._monitored.items())

    def _monitor(self, servable: ServableToMonitor) -> MonitoredServable:
        return MonitoredServable(
            servable,
            self._config.completeness,
            self._emit,
            versions_always_present=self._config.servable_versions_always_present,
        )

    def _emit(self, name: str, versions: Sequence[ServableData[StoragePath]]) -> None:
        if self._callback is not None and not self._is_stopping:
            self._callback(name, versions)

    def _check(self, config: FileSystemStoragePathSourceConfig) -> None:
        before = self._config.file_system_poll_wait_seconds
        if config.file_system_poll_wait_seconds != before:
            raise InvalidArgumentError(
                "file_system_poll_wait_seconds cannot be changed while running: "
                f"it is {before}, found {config.file_system_poll_wait_seconds}"
            )
        names = [servable.name for servable in config.servables]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidArgumentError(f"servables named more than once: {', '.join(twice)}")
        if config.fail_if_zero_versions_at_startup:
            for servable in config.servables:
                _check_not_empty(servable)


def _check_not_empty(servable: ServableToMonitor) -> None:
    def ignore(name: str, versions: Sequence[ServableData[StoragePath]]) -> None:
        """Only look."""

    probe = MonitoredServable(
        servable, CompletenessOptions(stable_scans=1), ignore, versions_always_present=True
    )
    if not probe.poll():
        raise NotFoundError(
            f"unable to find a version of servable {servable.name} under "
            f"{redact_address(servable.base_path)}"
        )
