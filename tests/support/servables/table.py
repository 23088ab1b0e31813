"""A look-up table as a servable: it starts without TensorFlow, and its answers name its version."""

import hashlib
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.traffic.accounts import Sent, a_record
from topicserve.servables.sources.completeness import MANIFEST
from topicserve.wire.result import MetadataStatus, Result

TABLE = "table"
ENTRIES = 100


def write_table(base_path: Path, version: int, content: str = "") -> None:
    """Write a version of the table that maps "k7" to "k7@<version>", or another content."""
    lines = [f"k{number},k{number}@{version}\n" for number in range(ENTRIES)]
    write_one_file(base_path, version, "hashmap.csv", (content or "".join(lines)).encode())


def write_one_file(base_path: Path, version: int, name: str, content: bytes) -> None:
    """Write a version of one file.

    Its manifest says that it is complete at the first look: no test waits for the second one.
    """
    unfinished = base_path.parent / f".{base_path.name}-{version}"
    unfinished.mkdir(parents=True)
    (unfinished / name).write_bytes(content)
    (unfinished / MANIFEST).write_text(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    base_path.mkdir(exist_ok=True)
    unfinished.rename(base_path / str(version))


def table_servable(base_path: Path) -> dict[str, Any]:
    """Return the table's entry in a worker's configuration."""
    return {"name": TABLE, "base_path": str(base_path), "kind": "hashmap"}


def table_records(headers: Mapping[str, str] | None = None) -> Callable[[int], list[Sent]]:
    """Return a function that makes that many new records, each with metadata of its own.

    Headers are added; a worker with more servables than the table must be told which is meant.
    """
    numbers = count()

    def make(records: int) -> list[Sent]:
        return [
            a_record(f"k{number % ENTRIES}", metadata={"number": number}, headers=headers)
            for number, _ in zip(numbers, range(records), strict=False)
        ]

    return make


def check_table_result(sent: Sent, result: Result) -> None:
    """Assert that a result is the table's, with the metadata wherever there is any."""
    assert result.record_id.encode() == sent.key
    assert result.value == f"{sent.instance}@{result.version}"
    assert result.metadata == (
        sent.metadata if result.metadata_status is MetadataStatus.FOUND else None
    )
