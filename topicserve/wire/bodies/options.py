"""What a body is told: its table of `[bodies]`, read into a struct that says what there may be."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from topicserve.errors import TopicserveError
from topicserve.option_tables import read_table


class BodyError(TopicserveError):
    """A body cannot be loaded, its options are wrong, or what it wrote is no result."""


class BodyOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one body: one field an option, with its type, limits and default."""


BodyOptionsT = TypeVar("BodyOptionsT", bound=BodyOptions)


def read_body_options(
    options_type: type[BodyOptionsT], options: Mapping[str, object], body: str
) -> BodyOptionsT:
    """Return the options, or raise BodyError naming the key and what is allowed."""
    try:
        return read_table(options_type, options, f"body {body!r}")
    except ValueError as error:
        raise BodyError(str(error)) from None


def need_no_options(options: Mapping[str, object], body: str) -> None:
    """Raise BodyError for any option."""
    read_body_options(BodyOptions, options, body)
