"""Tables of options, of a kind of servable or of a body, read into structs that declare them."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

OptionsT = TypeVar("OptionsT", bound=msgspec.Struct)


def read_table(options_type: type[OptionsT], options: Mapping[str, object], whose: str) -> OptionsT:
    """Return the options, or raise ValueError naming the key and what is allowed."""
    try:
        return msgspec.convert(options, options_type)
    except msgspec.ValidationError as error:
        allowed = ", ".join(field.encode_name for field in msgspec.structs.fields(options_type))
        known = f"known are: {allowed}" if allowed else "it has no options"
        raise ValueError(f"options of the {whose}: {_in_our_words(error)}; {known}") from None


def _in_our_words(error: msgspec.ValidationError) -> str:
    return str(error).replace("Object contains unknown field", "there is no").replace(" `$.", " `")
