"""What the benchmarks' options have in common."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def only(part: str, named: Mapping[str, T]) -> dict[str, T]:
    """Return those whose name contains a text; where there is none, end, saying what there is."""
    found = {name: one for name, one in named.items() if part in name}
    if not found:
        raise SystemExit("\n  ".join([f"--only: no name contains {part!r}; there are", *named]))
    return found
