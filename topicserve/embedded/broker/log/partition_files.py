"""A partition's records on disk: written as they come, read once when the broker starts."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from topicserve.embedded.broker.error_codes import KafkaError
from topicserve.embedded.broker.log.record_batch import Buffer, RecordBatch, read_batches

_SUFFIX = ".log"


class PartitionFiles:
    """A partition's segments as files of batches, each named by its first offset as in Kafka.

    Every batch is written with one unbuffered write, so what was acknowledged outlives the process
    (not the machine: nothing is synced). What a killed process left half-written is cut at load.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = -1
        self._size_bytes = 0
        directory.mkdir(parents=True, exist_ok=True)

    def load(self) -> Iterator[tuple[int, list[RecordBatch]]]:
        """Yield each segment's first offset and batches, in order."""
        paths = sorted(self._directory.glob(f"*{_SUFFIX}"))
        for number, path in enumerate(paths):
            batches, intact_bytes = _intact(path.read_bytes())
            if intact_bytes < path.stat().st_size:
                os.truncate(path, intact_bytes)
                # Behind a gap nothing can be trusted to follow on.
                for later in paths[number + 1 :]:
                    later.unlink()
                yield int(path.stem), batches
                return
            yield int(path.stem), batches

    def append(self, payload: Buffer) -> None:
        """Write a batch as a whole; after a failed write the file is as it was before."""
        try:
            written = os.write(self._file, payload)
            if written != len(payload):
                raise OSError(f"only {written} of {len(payload)} bytes could be written")
        except OSError:
            os.ftruncate(self._file, self._size_bytes)
            raise
        self._size_bytes += len(payload)

    def roll(self, base_offset: int) -> None:
        """Write on into the segment that begins at this offset."""
        self.close()
        self._file = os.open(self._path(base_offset), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._size_bytes = os.fstat(self._file).st_size

    def drop(self, base_offset: int) -> None:
        """Delete the segment that begins at this offset."""
        self._path(base_offset).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file that is written to."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def delete(self) -> None:
        """Delete the partition's directory."""
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _path(self, base_offset: int) -> Path:
        return self._directory / f"{base_offset:020d}{_SUFFIX}"


def _intact(content: bytes) -> tuple[list[RecordBatch], int]:
    """Return the batches up to the first that is torn or spoilt, and where they end."""
    batches: list[RecordBatch] = []
    end = 0
    try:
        for batch in read_batches(content):
            # A copy each: a view would keep the whole file in memory for as long as one is kept.
            batches.append(batch._replace(payload=bytes(batch.payload)))
            end += len(batch.payload)
    except KafkaError:
        pass
    return batches, end
