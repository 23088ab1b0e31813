"""Files and standard input as sources read them."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

from topicserve.cli.errors import UsageError

STANDARD_INPUT = "-"


class Input:
    """A file that is open, or standard input, which can be read once and has no size."""

    def __init__(self, name: str) -> None:
        """Raise UsageError where it cannot be opened."""
        self.name = name
        self.path = Path(name)
        self.size: int | None = None
        if name == STANDARD_INPUT:
            if sys.stdin is None:
                raise UsageError("-: standard input is closed; give a file")
            self.file: IO[bytes] = sys.stdin.buffer
            return
        try:
            self.file = self.path.open("rb")
            self.size = self.path.stat().st_size
        except OSError as error:
            raise UsageError(f"{name}: {error.strerror}; give a file, a folder or -") from error

    def spooled(self) -> None:
        """Have standard input copied to a temporary file: some formats begin at their end."""
        if self.name == STANDARD_INPUT:
            copy = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
            shutil.copyfileobj(self.file, copy)
            copy.seek(0)
            self.file = copy

    def fraction(self) -> float | None:
        """Return which part of a file was read; None of standard input."""
        return self.file.tell() / self.size if self.size else None

    def identity(self) -> dict[str, object]:
        """Return the file's path, size and time of change; standard input is not known again."""
        if self.name == STANDARD_INPUT:
            return {"file": STANDARD_INPUT}
        stat = self.path.stat()
        return {
            "file": str(self.path.resolve()),
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
        }

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self.file is not getattr(sys.stdin, "buffer", None):
            self.file.close()
