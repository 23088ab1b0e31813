"""What one input record may ask for; more is refused before any work is done for it.

The worker fills it from `[limits]`; readers and producers use the defaults.
"""

import msgspec

from topicserve.wire.errors import InvalidRecordError


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The limits on one record; the worker's `[limits]` table has the same keys and defaults."""

    max_headers: int = 1000
    max_header_bytes: int = 256 * 1024
    max_name_bytes: int = 1024
    max_inputs: int = 1000
    max_dimensions: int = 64
    max_nesting_depth: int = 64
    max_unfolded_bytes: int = 64 * 1024 * 1024
    max_metadata_bytes: int = 1024 * 1024


DEFAULT_LIMITS = Limits()


def exceeds(field: str, found: str, key: str, allowed: int) -> InvalidRecordError:
    """Return the error for a record over a limit, which names the key that sets the limit."""
    return InvalidRecordError(field, f"{found}; limits.{key} allows {allowed}")


def check_name(field: str, name: str | None, limits: Limits) -> None:
    """Raise InvalidRecordError where a name that a producer chose is too long."""
    # At most four bytes a character, so that a short name is not encoded for its length.
    if name is None or 4 * len(name) <= limits.max_name_bytes:
        return
    size = len(name.encode(errors="surrogatepass"))
    if size > limits.max_name_bytes:
        raise exceeds(field, f"has {size} bytes", "max_name_bytes", limits.max_name_bytes)


def shortened(name: str) -> str:
    """Return a name for an error message: the beginning of a long one."""
    return name if len(name) <= 64 else f"{name[:64]}..."
