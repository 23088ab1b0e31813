"""TF Serving's GetModelStatusResponse as JSON (model_servers/get_model_status_impl.cc)."""

from collections.abc import Iterable, Mapping
from typing import Any

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.servable_state import ServableState


def model_status(states: Iterable[ServableState], rejections: Mapping[int, str]) -> dict[str, Any]:
    """Return the status of a model's versions, in the order given.

    A version that the guard has rejected is listed with the reason for its error, in the state
    that it is in: it still answers requests that name it, until it is unloaded.
    """
    return {
        "model_version_status": [
            _version_status(state, rejections.get(state.id.version)) for state in states
        ]
    }


def _version_status(state: ServableState, rejection: str | None) -> dict[str, Any]:
    error = state.error
    if error is None and rejection is not None:
        error = FailedPreconditionError(rejection)
    return {
        "version": str(state.id.version),
        "state": state.manager_state.name,
        "status": {
            "error_code": "OK" if error is None else error.code,
            "error_message": "" if error is None else str(error),
        },
    }
