"""A partition's file: batches one after the other, as they lie in memory."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from topicserve.embedded.kafka_broker.record_batch import (
    BatchHeader,
    CorruptBatchError,
    check,
    read_header,
)

if TYPE_CHECKING:
    from topicserve.embedded.kafka_broker.partition_log import Batch


class LogFile:
    """Appends whole batches; cuts a torn tail at the start.

    A write is handed to the operating system before it is acknowledged, so it survives the
    broker's being killed at any moment (but not the machine's: there is no fsync).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._dropped_bytes = 0

    def load(self) -> Iterator[tuple[BatchHeader, bytes]]:
        """Yield every whole batch, and cut off what comes after the last."""
        data = self._path.read_bytes()
        position = 0
        try:
            while position < len(data):
                header = read_header(data, position)
                check(data, position, header)
                yield header, data[position : position + header.size_bytes]
                position += header.size_bytes
        except CorruptBatchError:
            os.truncate(self._descriptor, position)

    def append(self, data: bytes) -> None:
        """Write a batch."""
        written = 0
        while written < len(data):
            written += os.write(self._descriptor, data[written:])

    def dropped(self, size_bytes: int, left: Sequence["Batch"], left_bytes: int) -> None:
        """Note that the oldest batches are gone; rewrite the file when half of it is waste."""
        self._dropped_bytes += size_bytes
        if self._dropped_bytes <= left_bytes:
            return
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.close(self._descriptor)
        self._descriptor = descriptor
        for batch in left:
            self.append(batch.data)
        fresh.replace(self._path)
        self._dropped_bytes = 0

    def close(self, *, delete: bool) -> None:
        """Close the file, and delete it where its topic is."""
        os.close(self._descriptor)
        if delete:
            self._path.unlink(missing_ok=True)
