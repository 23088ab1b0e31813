"""A file of small facts by key, for what must outlive the broker's process besides records."""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Key = tuple[str | int, ...]

_COMPACT_EVERY_LINES = 20_000


class Journal:
    """Small facts by key, the last word winning: topics, offsets, transactions.

    What is put together is one line of a file, written at once, so it is there as a whole or not
    at all after the process was killed. Each line carries a checksum; a torn last one is cut. The
    file is rewritten without what is outdated when it is opened and when it has grown. Without a
    path nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._facts: dict[Key, Any] = {}
        self._file = -1
        self._lines = 0
        if path is not None:
            self._load(path)
            self._rewrite(path)

    def facts(self, kind: str) -> dict[Key, Any]:
        """Return what was found for keys that begin with this word, without the word."""
        return {key[1:]: value for key, value in self._facts.items() if key[0] == kind}

    def put(self, changes: Mapping[Key, Any]) -> None:
        """Keep facts, all or none of them; None deletes one. Raises OSError when it cannot."""
        if self._path is None or not changes:
            return
        line = _line(changes)
        size_bytes = os.fstat(self._file).st_size
        if os.write(self._file, line) != len(line):
            os.ftruncate(self._file, size_bytes)
            raise OSError(f"{self._path} could not be written to as a whole; is the disk full?")
        self._apply(changes)
        self._lines += 1
        if self._lines > _COMPACT_EVERY_LINES + 4 * len(self._facts):
            self._rewrite(self._path)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _apply(self, changes: Mapping[Key, Any]) -> None:
        for key, value in changes.items():
            if value is None:
                self._facts.pop(key, None)
            else:
                self._facts[key] = value

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        for line in path.read_bytes().splitlines(keepends=True):
            changes = _changes(line)
            if changes is None:
                return
            self._apply(changes)

    def _rewrite(self, path: Path) -> None:
        self.close()
        fresh = path.with_suffix(".new")
        fresh.write_bytes(b"".join(_line({key: value}) for key, value in self._facts.items()))
        fresh.replace(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._lines = len(self._facts)


def _line(changes: Mapping[Key, Any]) -> bytes:
    body = json.dumps([[list(key), value] for key, value in changes.items()]).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _changes(line: bytes) -> dict[Key, Any] | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    return {tuple(key): value for key, value in json.loads(body)}
