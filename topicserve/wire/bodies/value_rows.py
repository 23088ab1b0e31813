"""Records whose value is one row: one string for the only string input of their signature."""

from collections.abc import Callable


class ValueRows:
    """How a value becomes the string that is fed; records that share it are read at once.

    `read` returns it, or raises InvalidRecordError. None: the string is the value itself.
    """

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[bytes], bytes] | None = None) -> None:
        self._read = read

    def row_of(self, value: bytes) -> bytes:
        """Return the string of one value."""
        return value if self._read is None else self._read(value)


RAW_ROWS = ValueRows()
