"""Log events of versions that come and go."""

import logging
from collections.abc import Sequence

from topicserve.servables.core.errors import ServableError, UnknownError
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.worker.telemetry.logging import log_event


def log_version(state: ServableState, replaced: Sequence[int] = ()) -> None:
    """Log that a version is available, unloaded or failed.

    `replaced` are the servable's versions that are no longer aspired and still serve.
    """
    name, version = state.id.name, state.id.version
    if state.error is not None:
        log_event(
            "version_failed",
            logging.ERROR,
            servable=name,
            version=version,
            code=state.error.code,
            problem=str(state.error),
            traceback_of=_unforeseen(state.error),
        )
        _log_blocked_rollback(state.id, str(state.error), max(replaced, default=version))
    elif state.manager_state is ManagerState.AVAILABLE:
        log_event("version_available", servable=name, version=version, seconds=_short(state))
    elif state.manager_state is ManagerState.END:
        log_event("version_unloaded", servable=name, version=version, seconds=_short(state))


def _log_blocked_rollback(failed: ServableId, problem: str, replaced: int) -> None:
    """Log that a higher version still answers, where a lower one was to replace it."""
    if replaced > failed.version:
        log_event(
            "rollback_blocked",
            logging.WARNING,
            servable=failed.name,
            version=replaced,
            failed_version=failed.version,
            problem=problem,
            remedy="remove the failed version, too, or correct it",
        )


def log_removed(names: Sequence[str]) -> None:
    """Log which servables the model config file does not list any more."""
    log_event("servables_removed", logging.WARNING, servables=",".join(names))


def _unforeseen(error: ServableError) -> BaseException | None:
    """Return what a loader raised that has no status code: its text alone rarely says where."""
    return error.__cause__ if isinstance(error, UnknownError) else None


def _short(state: ServableState) -> float:
    return round(state.seconds or 0.0, 3)
