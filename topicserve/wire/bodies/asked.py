"""What a body may say of its record beside its rows: which servable, which outputs, how many rows.

Headers stand for what the body does not say.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from topicserve.wire.headers import ServableSpec

if TYPE_CHECKING:
    from topicserve.wire.input_record import InputRecord


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What a body says beside its content; None, or empty, where it says nothing."""

    servable_name: str | None = None
    version: int | None = None
    label: str | None = None
    """A version or a label, not both."""
    signature_name: str | None = None
    output_filter: tuple[str, ...] = ()
    """The outputs that are wanted; empty: all of them."""
    rows: int = 1
    """How many rows the record has, as far as this is known: a batch is filled by it."""
    held_bytes: int = 0
    """About how much memory the content takes once it is read, beside the value."""
    record_id: str | None = None
    """Stands for the header `ce_id` where that is missing."""

    def target(self, headers: ServableSpec) -> ServableSpec:
        """Return what is asked for: the headers stand for what the body does not say."""
        version, label = self.version, self.label or None
        if version is None and label is None:
            version, label = headers.version, headers.label
        return ServableSpec(
            self.servable_name or headers.servable,
            version,
            label,
            self.signature_name or headers.signature_name,
        )


class Unasked(ServableSpec, frozen=True, gc=False, kw_only=True):
    """What the headers ask for of a record whose body is still to be asked."""

    ask: "Callable[[InputRecord], InputRecord]"
    """Returns the record with what its body says; it may take long, or end the process.

    Raises InvalidRecordError.
    """
