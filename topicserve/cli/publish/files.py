"""Files and standard input as sources read them."""

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import IO

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.compression import decompressed

STANDARD_INPUT = "-"


class Input:
    """A file that is open, or a stream that can be read once and has no size.

    A stream is standard input, a named pipe or a terminal. What never ends, such as /dev/zero, is
    refused.
    """

    def __init__(self, name: str) -> None:
        """Raise UsageError where it cannot be opened."""
        self.name = name
        self.path = Path(name)
        self.size: int | None = None
        self._text: IO[bytes] | None = None
        if name == STANDARD_INPUT:
            if sys.stdin is None:
                raise UsageError("-: standard input is closed; give a file")
            self.file: IO[bytes] = sys.stdin.buffer
        else:
            try:
                self.file = self.path.open("rb")
            except OSError as error:
                raise UsageError(f"{name}: {error.strerror}; give a file, a folder or -") from error
        self._look()

    @property
    def is_stream(self) -> bool:
        """Return whether it can be read only once."""
        return self.size is None

    def text(self) -> IO[bytes]:
        """Return what a text file holds: decompressed, if it is gzip's.

        May block for the first bytes. Raises UsageError where it is UTF-16, or packed otherwise.
        """
        if self._text is None:
            self._text = decompressed(self.file, self.name)
        return self._text

    def spooled(self) -> None:
        """Have a stream copied to a temporary file: some formats begin at their end."""
        if self.is_stream:
            copy = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
            shutil.copyfileobj(self.file, copy)
            copy.seek(0)
            self._close_file()
            self.file = copy

    def fraction(self) -> float | None:
        """Return which part of a file was read; None of a stream."""
        return self.file.tell() / self.size if self.size else None

    def identity(self) -> dict[str, object]:
        """Return the file's path, size and time of change; a stream is not known again."""
        if self.name == STANDARD_INPUT:
            return {"file": STANDARD_INPUT}
        path = str(self.path.resolve())
        if self.is_stream:
            return {"file": path}
        found = self.path.stat()
        return {"file": path, "size": found.st_size, "mtime_ns": found.st_mtime_ns}

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._close_file()

    def _close_file(self) -> None:
        if self.file is not getattr(sys.stdin, "buffer", None):
            self.file.close()

    def _look(self) -> None:
        """Find the size of a regular file; refuse a device."""
        try:
            found = os.fstat(self.file.fileno())
        except (OSError, ValueError):  # standard input that has no descriptor, as in a test
            return
        if stat.S_ISREG(found.st_mode) and self.name != STANDARD_INPUT:
            self.size = found.st_size
        is_null = os.path.exists(os.devnull) and found.st_rdev == os.stat(os.devnull).st_rdev
        is_device = stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode)
        if is_device and not is_null and not self.file.isatty():
            self.close()
            raise UsageError(f"{self.name}: is a device; give a file, a folder or -")


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return a small file's content.

    Raises OSError where it cannot be read, also where it is a pipe, a socket or a device, which may
    never end, and where it has more bytes than that, or gets them meanwhile.
    """
    # Of a named pipe the opening alone would wait for someone who writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "is no regular file")
        content = b""
        if found.st_size <= max_bytes:
            while part := file.read(max_bytes + 1 - len(content)):
                content += part
        if max(found.st_size, len(content)) > max_bytes:
            raise OSError(
                0, f"has {_size(found.st_size)}, more than the {_size(max_bytes)} allowed"
            )
        return content


def _size(count: int) -> str:
    return f"{count:,} bytes"
