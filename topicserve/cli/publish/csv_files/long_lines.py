"""Passes over lines that are too long for pyarrow, which would end the reading of the file."""

from collections.abc import Callable, Iterator
from typing import IO

MAX_LINE_BYTES = 1024 * 1024


class BoundedLines:
    """A CSV file without its long lines, where it can be told where the next row begins.

    That is so where no quoted value is open, before the line and behind it. In any other case, and
    in the line of names, nothing is left out, and pyarrow says what is wrong. One thread reads it.
    """

    closed = False

    def __init__(self, file: IO[bytes], on_long_line: Callable[[bytes], bool]) -> None:
        """`on_long_line` is given a line's beginning; with False from it the file ends there."""
        self._file = file
        self._on_long_line = on_long_line
        self._parts = self._whole_lines()
        self._ready = bytearray()
        self.close: Callable[[], None] = lambda: None

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end alone."""
        while len(self._ready) < size and (part := next(self._parts, b"")):
            self._ready += part
        found = bytes(self._ready[:size])
        del self._ready[:size]
        return found

    def _whole_lines(self) -> Iterator[bytes]:
        quotes, is_first = 0, True
        while line := self._file.readline(MAX_LINE_BYTES + 1):
            is_long = len(line) > MAX_LINE_BYTES and not line.endswith(b"\n")
            # Files of old Macs have no other line end.
            if is_long and not is_first and quotes % 2 == 0 and b"\r" not in line[:-1]:
                if not self._leave_out(line):
                    return
                continue
            quotes += line.count(b'"')
            is_first = is_first and is_long
            yield line

    def _leave_out(self, line: bytes) -> bool:
        """Read to the line's end, which may be far, and tell of it."""
        begin, quotes = line[:64], line.count(b'"')
        while line and not line.endswith(b"\n"):
            line = self._file.readline(MAX_LINE_BYTES)
            quotes += line.count(b'"')
        if quotes % 2:
            raise OSError(0, "a quoted value is longer than 1 MiB")
        return self._on_long_line(begin)
