"""The types that keys share: bounds, and tables that hide what may be a password."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

# Ten years: longer is a slip of the keyboard, and the system's own waits end at 2^63 nanoseconds.
MAX_SECONDS = 10 * 365 * 86_400
MAX_COUNT = 2**53

Count = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
CountFromZero = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=MAX_SECONDS)]
Share = Annotated[float, Meta(ge=0, le=1)]
Version = Annotated[int, Meta(ge=0, le=2**63 - 1)]

# TOML reads a name with dots as nested tables; readers join them again.
DOTTED = {"dotted": True}
KafkaSettings = Annotated[Mapping[str, str | float | int | bool], Meta(extra=DOTTED)]


class ConfigTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of the file: one field a key, with its type, its bounds and its default."""

    HIDDEN: ClassVar[frozenset[str]] = frozenset()
    """Fields that may hold passwords: the table's text leaves them out."""

    def __repr__(self) -> str:
        """Return the table without what may be a password."""
        shown = (
            f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
            if name not in self.HIDDEN
        )
        return f"{type(self).__name__}({', '.join(shown)})"
