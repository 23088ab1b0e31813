"""What a kind is told: its `options` table, read into a struct that says what there may be.

A wrong value or an unknown option is an InvalidArgumentError that names the key and what is known;
`topicserve check` and the worker's start show it.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from topicserve.option_tables import read_table
from topicserve.servables.core.errors import InvalidArgumentError


class KindOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one kind: one field an option, with its type, limits and default."""


OptionsT = TypeVar("OptionsT", bound=KindOptions)


def read_options(
    options_type: type[OptionsT], options: Mapping[str, object], kind: str
) -> OptionsT:
    """Return the options, or raise InvalidArgumentError naming the key and what is allowed."""
    try:
        return read_table(options_type, options, f"kind {kind!r}")
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from None
