"""Looks at the stores of bodies when a worker starts."""

import logging
from collections.abc import Callable

from topicserve.backends.errors import BackendConfigError
from topicserve.backends.references.allow_list import Location, read_prefix
from topicserve.backends.references.stores import check_readable
from topicserve.backends.references.writing import check_writable
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.telemetry.logging import log_event

Check = Callable[[Location], str | None]


def prepare_stores(dataref: DatarefConfig) -> None:
    """Load what the stores need; raises BackendConfigError naming the key that is wrong.

    A server that does not answer is told and not waited for: other records need not wait for it.
    """
    for index, prefix in enumerate(dataref.allow):
        _prepare(f"dataref.allow[{index}]", prefix, check_readable)
    if dataref.results:
        _prepare("dataref.results", dataref.results, check_writable)


def _prepare(key: str, text: str, check: Check) -> None:
    prefix = read_prefix(text)
    try:
        problem = check(prefix)
    except BackendConfigError as error:
        raise BackendConfigError(f"{key}: {error}") from None
    if problem is not None:
        log_event(
            "body_store_unavailable",
            logging.WARNING,
            store=prefix.url,
            problem=f"{key}: {problem}",
        )
