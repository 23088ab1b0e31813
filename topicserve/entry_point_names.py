"""What comes from outside by name: entry points of one group, beside those that are shipped."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from topicserve.errors import error_text


def known_names(group: str, shipped: Mapping[str, str]) -> list[str]:
    """Return all names: those shipped and those installed."""
    return sorted({*shipped, *entry_points(group=group).names})


def load_named(group: str, name: str, shipped: Mapping[str, str], noun: str) -> Any:
    """Return what a name stands for, importing that alone; ValueError says what is wrong.

    `shipped` has the targets of names that are there also where the metadata of an older
    installation does not say so.
    """
    found: EntryPoint | None = next(iter(entry_points(group=group, name=name)), None)
    if found is None and name in shipped:
        found = EntryPoint(name, shipped[name], group)
    if found is None:
        known = ", ".join(known_names(group, shipped))
        raise ValueError(f"unknown {noun} {name!r}; known are: {known}")
    try:
        return found.load()
    # A module from outside may fail in any way while it is imported.
    except BaseException as error:
        problem = error_text(error)
        raise ValueError(
            f"{noun} {name!r} ({found.value}) cannot be imported: {problem}"
        ) from error
