"""What a kind is told: its `options` table, read into a struct that says what there may be.

A wrong value or an unknown option is an InvalidArgumentError that names the key and what is known;
`topicserve check` and the worker's start show it.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from topicserve.servables.core.errors import InvalidArgumentError


class KindOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one kind: one field an option, with its type, limits and default."""


OptionsT = TypeVar("OptionsT", bound=KindOptions)


def read_options(
    options_type: type[OptionsT], options: Mapping[str, object], kind: str
) -> OptionsT:
    """Return the options, or raise InvalidArgumentError naming the key and what is allowed."""
    try:
        return msgspec.convert(options, options_type)
    except msgspec.ValidationError as error:
        allowed = ", ".join(field.encode_name for field in msgspec.structs.fields(options_type))
        raise InvalidArgumentError(
            f"options of the kind {kind!r}: {_in_our_words(error)}; known are: {allowed}"
        ) from None


def _in_our_words(error: msgspec.ValidationError) -> str:
    return str(error).replace("Object contains unknown field", "there is no").replace(" `$.", " `")
