"""A folder of images: each file's bytes are a record, decoded by the model and not here.

They are sent as they are, with their content type; as JSON or protobuf where a row is an object, a
list or tensors.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from topicserve.cli.errors import UsageError
from topicserve.cli.publish.files import read_regular
from topicserve.cli.publish.rows import Position, Row
from topicserve.cli.publish.table_source import Columns
from topicserve.producer.record import Record
from topicserve.producer.rows.chunks import Chunk
from topicserve.wire.errors import InvalidRecordError

SUFFIXES = {
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
"""The content types of images, by the endings of their names."""
IMAGE, FILE = "image", "file"
DEFAULT_MAX_REQUEST_BYTES = 1024 * 1024
"""Kafka's own `max.request.size`."""


class ImageSource:
    """Reads images one at a time, in the order of their names; columns are `image` and `file`.

    A position is the last file's name, so that what is added behind it meanwhile is published too.
    """

    skipped_rows = 0

    def __init__(
        self, name: str, columns: Columns, max_bytes: int = DEFAULT_MAX_REQUEST_BYTES
    ) -> None:
        """`max_bytes` is what a record may have: a larger file's is never accepted."""
        self.name = name
        self._max_bytes = max_bytes
        self._folder = Path(name)
        self._files = sorted(_images(self._folder), key=_position)
        if not self._files:
            raise UsageError(f"{name}: holds no images ({', '.join(sorted(SUFFIXES))})")
        if columns.inputs is None:
            columns = columns._replace(inputs=[IMAGE], row=columns.row or "value")
        if not columns.metadata and columns.without_metadata is None:
            columns = columns._replace(metadata=[FILE])
        self._is_raw = columns.row == "value" and not columns.tensors
        self._mapping = columns.mapping()

    def rows(self, start: Position | None) -> Iterator[Row]:
        """See RowSource."""
        for file in self._files:
            position = _position(file)
            if start is None or position > str(start):
                yield Row(position, f"{self.name}/{position}", self._record(file))

    def left(self, start: Position | None) -> int:
        """See RowSource."""
        return sum(start is None or _position(file) > str(start) for file in self._files)

    def fraction(self) -> None:
        """Return None: the files are known."""
        return

    def identity(self) -> dict[str, object]:
        """See RowSource."""
        return {"file": str(self._folder.resolve())}

    def close(self) -> None:
        """Close nothing: no file is open between two rows."""

    def _record(self, file: str) -> Record | InvalidRecordError:
        if file != _position(file):
            return InvalidRecordError(FILE, "the name is not UTF-8; rename the file")
        try:
            image = read_regular(self._folder / file, self._max_bytes)
        except OSError as error:
            return InvalidRecordError(FILE, str(error.strerror))
        try:
            (record,) = self._mapping.of_chunk(Chunk(0, 1, {IMAGE: [image], FILE: [file]}))
        except InvalidRecordError as error:
            raise UsageError(f"{self.name}: {error}") from error
        if self._is_raw and isinstance(record, Record) and isinstance(record.instance, bytes):
            content_type = SUFFIXES[_suffix(file)]
            return replace(record, instance=None, body=record.instance, content_type=content_type)
        return record


def _position(file: str) -> str:
    """Return a name as text, as a checkpoint has it; bytes that are not UTF-8 are escaped."""
    return file.encode("utf-8", "backslashreplace").decode()


def _suffix(file: str) -> str:
    return os.path.splitext(file)[1].lower()


def _images(folder: Path) -> Iterator[str]:
    """Yield the images' names, relative to the folder; links to folders are not followed."""
    for directory, _, names in os.walk(folder):
        for name in names:
            if _suffix(name) in SUFFIXES:
                yield os.path.relpath(os.path.join(directory, name), folder)
