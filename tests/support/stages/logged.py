"""The type of the fixture `logged`, which reads the worker's log events in tests."""

from collections.abc import Callable

Logged = Callable[[str], list[dict[str, object]]]
"""Returns the fields of each line of an event, in order."""
