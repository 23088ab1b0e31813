"""numpy's files, mapped into memory: a row is array[i].

Pickled objects are refused, since loading one runs code.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.files import Input
from topicserve.producer.rows.chunks import ONLY, Chunk, chunks_of
from topicserve.wire.errors import InvalidRecordError


class ArrayTable:
    """An .npy file, or the arrays of an .npz file as columns.

    What is compressed, or comes from standard input, is unpacked into a temporary folder first.
    """

    skipped_rows = 0

    def __init__(self, opened: Input) -> None:
        self.name = opened.name
        self._input = opened
        self._folder: Path | None = None
        self.identity = opened.identity
        try:
            self._columns = self._open()
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            self.close()
            raise UsageError(f"{self.name}: cannot be read as numpy's file: {error}") from error

    def rows(self) -> int:
        """See RowTable."""
        return max((len(column) for column in self._columns.values()), default=0)

    def fraction(self) -> None:
        """Return None: the rows are known."""
        return

    def close(self) -> None:
        """See RowTable."""
        self._input.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def chunks(self, start: int) -> Iterator[Chunk]:
        """See RowTable."""
        rest = {name: column[start:] for name, column in self._columns.items()}
        try:
            for chunk in chunks_of(rest):
                yield chunk._replace(start=chunk.start + start)
        except InvalidRecordError as error:
            raise UsageError(f"{self.name}: {error}") from error

    def _open(self) -> dict[str, Any]:
        path = self._unpacked_input()
        if not zipfile.is_zipfile(path):
            return _named(_mapped(path))
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            arrays = {
                name.removesuffix(".npy"): _mapped(self._unpack(archive, name, number))
                for number, name in enumerate(names)
            }
        only = next(iter(arrays.values())) if len(arrays) == 1 else None
        # What `numpy.savez` calls an array that it is given without a name.
        return arrays if only is None or "arr_0" not in arrays else _named(only)

    def _unpacked_input(self) -> Path:
        if not self._input.is_stream:
            return self._input.path
        copy = self._temporary() / "input"
        with copy.open("wb") as file:
            shutil.copyfileobj(self._input.file, file)
        return copy

    def _unpack(self, archive: zipfile.ZipFile, name: str, number: int) -> Path:
        unpacked = self._temporary() / f"{number}.npy"
        with archive.open(name) as packed, unpacked.open("wb") as file:
            shutil.copyfileobj(packed, file)
        return unpacked

    def _temporary(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="topicserve-publish-"))
        return self._folder


def _mapped(path: Path) -> Any:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if isinstance(array, NpzFile) or not array.ndim:
        raise ValueError("holds no array with rows")
    return array


def _named(array: Any) -> dict[str, Any]:
    if array.dtype.names:
        return {name: array[name] for name in array.dtype.names}
    return {ONLY: array}
