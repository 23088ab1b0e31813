"""Looks at what a caller gave, so that a slip is named where it was made.

All raise BackendConfigError, which names the argument and what it must be; it is a TypeError too
where text or a number was expected and something else was given.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from topicserve.backends.errors import BackendConfigError

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_MAX_SHOWN = 64


class ArgumentTypeError(BackendConfigError, TypeError):
    """An argument is of the wrong type. The message names it."""


def topic_name(value: Any) -> str:
    """Return a topic's name."""
    if not isinstance(value, str) or not _TOPIC.fullmatch(value) or value in (".", ".."):
        raise _wrong("topic", "one topic's name: 1 to 249 of a-z A-Z 0-9 . _ -", value)
    return value


def server_list(value: Any) -> str:
    """Return the servers as Kafka has them, host:port,host:port; a list of them is taken, too."""
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        servers = list(value)
        if servers and all(isinstance(server, str) for server in servers):
            return ",".join(servers)
    raise _wrong("bootstrap_servers", "host:port[,host:port...]", value)


def text_or_none(value: Any, name: str) -> str | None:
    """Return text; None where there is none."""
    if value is not None and not isinstance(value, str):
        raise ArgumentTypeError(_message(name, "text", value))
    return value


def text(value: Any, name: str) -> str:
    """Return text."""
    if not isinstance(value, str):
        raise ArgumentTypeError(_message(name, "text", value))
    return value


def seconds(value: Any, name: str, *, minimum: float = 0.0) -> float:
    """Return a finite number of seconds."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not minimum <= value < math.inf:
        raise _wrong(name, f"a number of seconds from {minimum:g}", value)
    return float(value)


def version_or_none(value: Any, name: str) -> int | None:
    """Return a version's number; None where there is none."""
    if value is not None and (not isinstance(value, (int, np.integer)) or isinstance(value, bool)):
        raise ArgumentTypeError(_message(name, "a whole number", value))
    return None if value is None else int(value)


def whole_number(value: Any, name: str) -> int:
    """Return a whole number from 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(name, "a whole number from 0", value)
    return value


def settings_of(value: Any) -> dict[str, object]:
    """Return Kafka's settings by name; None has none."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong("kafka_settings", 'a mapping such as {"compression.type": "lz4"}', value)
    return dict(value)


def _wrong(name: str, wanted: str, value: Any) -> BackendConfigError:
    return BackendConfigError(_message(name, wanted, value))


def _message(name: str, wanted: str, value: Any) -> str:
    shown = repr(value)
    if len(shown) > _MAX_SHOWN:
        shown = f"{shown[:_MAX_SHOWN]}..."
    return f"{name} must be {wanted}, found {type(value).__name__} {shown}"
