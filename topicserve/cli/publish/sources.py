"""Chooses how a file is read, by --format or its name, and reads the flags that say how."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from topicserve.cli.connection import kafka_settings
from topicserve.cli.errors import UsageError
from topicserve.cli.publish.files import STANDARD_INPUT, Input
from topicserve.cli.publish.rows import RowSource
from topicserve.redact import redact_url

if TYPE_CHECKING:
    from topicserve.cli.publish.table_source import Columns

FORMATS = ("jsonl", "csv", "tsv", "parquet", "npy", "npz", "images")

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npy": "npy",
    ".npz": "npz",
}
_COLUMN_FLAGS = (
    "input_columns",
    "row",
    "tensors",
    "metadata_columns",
    "id_column",
    "key_column",
    "text_columns",
    "column_types",
)


def open_source(arguments: argparse.Namespace) -> RowSource:
    """Return what the flags name, open. Raises UsageError where it cannot be opened.

    numpy and pyarrow are imported for the formats that need them only. The caller closes it.
    """
    name = arguments.file
    form = arguments.format or format_of(name)
    if form == "jsonl":
        return _lines(arguments)
    # Here, so that JSON Lines need neither numpy nor pyarrow.
    from topicserve.cli.publish.array_tables import ArrayTable
    from topicserve.cli.publish.arrow_tables import ParquetTable, pyarrow
    from topicserve.cli.publish.image_source import ImageSource
    from topicserve.cli.publish.table_source import TableSource

    columns = columns_of(arguments)
    if form == "images":
        if name == STANDARD_INPUT or not Path(name).is_dir():
            raise UsageError(f"{name}: images are read from a folder")
        return ImageSource(name, columns, _max_request_bytes(arguments))
    if form in ("npy", "npz"):
        return TableSource(ArrayTable(Input(name)), columns)
    pyarrow()
    if form == "parquet":
        return TableSource(ParquetTable(Input(name), columns), columns)
    # Here, so that one is told which package is missing.
    from topicserve.cli.publish.csv_files.table import CsvTable

    delimiter = "\t" if form == "tsv" else ","
    table = CsvTable(Input(name), columns, delimiter=delimiter, skip_invalid=arguments.skip_invalid)
    return TableSource(table, columns)


def _max_request_bytes(arguments: argparse.Namespace) -> int:
    """Return the size above which no client sends a record."""
    from topicserve.cli.publish.image_source import DEFAULT_MAX_REQUEST_BYTES

    typed = str(kafka_settings(arguments).get("max.request.size", ""))
    # What is no number is refused with the other settings.
    return int(typed) if typed.isascii() and typed.isdigit() else DEFAULT_MAX_REQUEST_BYTES


def format_of(name: str) -> str:
    """Return what a file is by its name; what says nothing is JSON Lines.

    A folder is images; letters may be large or small, and a `.gz` behind the name says nothing. The
    content is not looked at.
    """
    if name != STANDARD_INPUT and Path(name).is_dir():
        return "images"
    path = Path(name.lower().removesuffix(".gz"))
    return _SUFFIXES.get(path.suffix, "jsonl")


def columns_of(arguments: argparse.Namespace) -> "Columns":
    """Return which columns are what. UsageError for a list with an empty name."""
    from topicserve.cli.publish.table_source import Columns
    from topicserve.producer.record import STORED_ELSEWHERE

    return Columns(
        inputs=_names(arguments.input_columns),
        row=arguments.row,
        tensors=arguments.tensors,
        metadata=_names(arguments.metadata_columns) or (),
        record_id=arguments.id_column,
        key=arguments.key_column,
        text=_names(arguments.text_columns) or (),
        types=arguments.column_types,
        without_metadata=STORED_ELSEWHERE if arguments.metadata_elsewhere else None,
    )


def record_flags(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the flags that decide what the records of a file have, as they are meant.

    A command that goes on with a checkpoint must have the same ones.
    """
    columns = [name for name in _COLUMN_FLAGS if name not in ("row", "tensors")]
    given = {name: ",".join(_names(getattr(arguments, name)) or ()) for name in columns}
    given["format"] = arguments.format or format_of(arguments.file)
    if given["format"] != "jsonl":
        given["row"] = arguments.row or "object"
    given["servable"] = arguments.servable or ""
    given["source"] = arguments.source
    given["metadata"] = " ".join(sorted(arguments.metadata))
    # Where the metadata is: a worker reads that of one place.
    given["redis_url"] = redact_url(arguments.redis_url)
    given["key_prefix"] = arguments.key_prefix or "(none)"
    switches = [name for name in ("tensors", "metadata_elsewhere") if getattr(arguments, name)]
    texts = {name: text for name, text in given.items() if text} | dict.fromkeys(switches, "")
    return {f"--{name.replace('_', '-')}": text for name, text in texts.items()}


def _lines(arguments: argparse.Namespace) -> RowSource:
    from topicserve.cli.publish.line_source import LineSource

    given = next((flag for flag in _COLUMN_FLAGS if getattr(arguments, flag)), None)
    if given is not None:
        raise UsageError(
            f"--{given.replace('_', '-')}: JSON Lines have no columns; "
            "leave it out, or name another --format"
        )
    return LineSource(Input(arguments.file), metadata_elsewhere=arguments.metadata_elsewhere)


def _names(text: str | None) -> Sequence[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"columns are given as A,B; found {text[:64]!r}")
    return names
