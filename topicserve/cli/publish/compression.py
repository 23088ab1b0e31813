"""Text files that are packed: gzip's are read as what is in them, others are named."""

import codecs
import gzip
import io
import zlib
from typing import IO

from topicserve.cli.errors import UsageError

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"BZh": "bzip2-compressed; unpack it first (bunzip2)",
    b"\xfd7zXZ": "xz-compressed; unpack it first (unxz)",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; unpack it first (unzstd)",
    b"PK\x03\x04": "a zip archive; unpack it first (unzip)",
    codecs.BOM_UTF16_LE: "UTF-16; convert it first (iconv -f UTF-16 -t UTF-8)",
    codecs.BOM_UTF16_BE: "UTF-16; convert it first (iconv -f UTF-16 -t UTF-8)",
}
_BUFFER_BYTES = 256 * 1024


def decompressed(file: IO[bytes], name: str) -> IO[bytes]:
    """Return what a file of text holds. Raises UsageError for one that cannot be read as UTF-8.

    Its first bytes decide, not its name; they are waited for. Memory stays flat: nothing is
    unpacked before it is read.
    """
    peek = getattr(file, "peek", None)
    begin = peek(8) if peek is not None else b""
    if begin.startswith(_GZIP):
        return io.BufferedReader(_Unpacked(file), _BUFFER_BYTES)
    for mark, what in _OTHERS.items():
        if begin.startswith(mark):
            raise UsageError(f"{name}: is {what}")
    return file


class _Unpacked(io.RawIOBase):
    """What gzip packed; each of its errors is an OSError here."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            part = self._file.read1(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise OSError(0, f"is a gzip file that is damaged or not complete: {error}") from None
        buffer[: len(part)] = part
        return len(part)
