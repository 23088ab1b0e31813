"""The name of one version of one servable (TF Serving: core/servable_id.h)."""

from typing import NamedTuple


class ServableId(NamedTuple):
    """A stream's name and a version in it. Ordered by name, then by version."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"
