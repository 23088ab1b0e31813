"""Which columns of a table are a record's inputs, metadata, id and key.

For `publish_rows` and for `topicserve publish`, which read different tables into the same columns.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from topicserve.producer.encoder import EncodedRecord
from topicserve.producer.json_bytes import NO_VALUE
from topicserve.producer.record import Record, StoredElsewhere
from topicserve.producer.rows.chunks import CHUNK_ROWS, ONLY, Chunk, chunks_of, row_count
from topicserve.producer.rows.given import id_of, is_column, key_of, one_a_row
from topicserve.producer.rows.values import (
    metadata_values_of,
    problems_of,
    typed_values_of,
    values_of,
)
from topicserve.wire.errors import InvalidRecordError


class CommonFields(TypedDict, total=False):
    """What all records of a table have in common: fields of Record."""

    servable: str | None
    version: int | None
    label: str | None
    signature_name: str | None
    deadline: Any
    traceparent: str | None
    tracestate: str | None


Problems = dict[int, InvalidRecordError]
"""Why there is no record of a row of a chunk."""

MetadataColumns = Sequence[str] | Mapping[str, Any] | StoredElsewhere | None
"""Names of columns; or values by name: a column of them, or one that all rows have."""


class RowMapping:
    """Makes a record of each row of a table.

    `inputs` are the columns that a model is given: an object by column name, or, where one name is
    given and not a list, that column's value alone. None takes all columns that are not metadata,
    id or key. With `vector` a row is the list of their values, and with `tensors` it is sent as
    arrays of one row, in protobuf.

    `metadata` are names of columns, or values by name: each a column of its own, or one value that
    all rows have. `record_ids` and `keys` are a column's name, or values, one a row.
    """

    def __init__(
        self,
        *,
        inputs: str | Sequence[str] | None = None,
        vector: bool = False,
        tensors: bool = False,
        metadata: MetadataColumns = None,
        record_ids: str | Iterable[Any] | None = None,
        keys: str | Iterable[Any] | None = None,
        common: CommonFields | None = None,
    ) -> None:
        self._inputs = inputs
        self._vector = vector
        self._tensors = tensors
        self._metadata = _with_columns(metadata)
        self._record_ids = one_a_row(record_ids, "record_ids")
        self._keys = one_a_row(keys, "keys")
        self._common: CommonFields = common or {}
        if vector and (tensors or isinstance(inputs, str)):
            raise InvalidRecordError("vector", "makes one list of several columns")

    def records(
        self, table: Any, max_rows: int = CHUNK_ROWS
    ) -> Iterator[list[Record | InvalidRecordError]]:
        """Yield the records of a table, some at a time. Raises InvalidRecordError.

        What is given beside the table has one value a row; of a stream, whose rows are not counted
        before, there may be more.
        """
        rows = row_count(table)
        for field, given in self._given():
            if rows is not None and len(given) != rows:
                raise InvalidRecordError(
                    field, f"has {len(given)} values, and there are {rows} rows"
                )
        for chunk in chunks_of(table, max_rows):
            yield self.of_chunk(chunk)

    def of_chunk(self, chunk: Chunk) -> list[Record | InvalidRecordError]:
        """Return the records of some rows, and why there is none where a value cannot be read.

        Raises InvalidRecordError for a fault of a column, which all rows have.
        """
        problems = dict(chunk.problems)
        ids = self._values(chunk, self._record_ids, "record_ids", problems)
        keys = self._values(chunk, self._keys, "keys", problems)
        metadata = self._metadata_of(chunk, problems)
        form, contents = self._contents(chunk, problems)
        return [
            problems[row]
            if row in problems
            else Record(
                **{form: contents[row]},
                metadata=metadata(row),
                record_id=None if ids is None else id_of(ids[row]),
                key=None if keys is None else key_of(keys[row]),
                **self._common,
            )
            for row in range(chunk.rows)
        ]

    def _given(self) -> Iterator[tuple[str, Any]]:
        """Yield the columns that were given beside the table."""
        named: dict[str, Any] = {"record_ids": self._record_ids, "keys": self._keys}
        if isinstance(self._metadata, Mapping):
            named |= {f"metadata.{name}": value for name, value in self._metadata.items()}
        for field, given in named.items():
            if not isinstance(given, str) and is_column(given):
                yield field, given

    def _contents(self, chunk: Chunk, problems: Problems) -> tuple[str, Sequence[Any]]:
        names = self._input_names(chunk)
        read = typed_values_of if self._tensors else values_of
        columns = [read(_named(chunk, name, "inputs")) for name in names]
        for name, column in zip(names, columns, strict=True):
            _note(problems, f"inputs.{name}", column)
        if self._tensors:
            if ONLY in names:
                raise InvalidRecordError("inputs", "name the input: rows={name: array}")
            return "tensors", [_tensors(names, row) for row in zip(*columns, strict=True)]
        if isinstance(self._inputs, str) or names == [ONLY]:
            for row, value in enumerate(columns[0]):
                if value is None:
                    problems.setdefault(row, InvalidRecordError("instance", NO_VALUE))
            return "instance", columns[0]
        if self._vector:
            return "instance", [list(row) for row in zip(*columns, strict=True)]
        return "instance", [
            dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
        ]

    def _input_names(self, chunk: Chunk) -> list[str]:
        if isinstance(self._inputs, str):
            return [self._inputs]
        if self._inputs is not None:
            return list(self._inputs)
        used = {name for name in (self._record_ids, self._keys) if isinstance(name, str)}
        if isinstance(self._metadata, Sequence):
            used |= set(self._metadata)
        names = [name for name in chunk.columns if name not in used]
        if not names:
            raise InvalidRecordError("inputs", "has no column left: all are metadata, id or key")
        return names

    def _metadata_of(self, chunk: Chunk, problems: Problems) -> Callable[[int], Any]:
        given = self._metadata
        if given is None or isinstance(given, StoredElsewhere):
            return lambda _: given
        if isinstance(given, str):
            raise InvalidRecordError("metadata", f"must be a list of columns; give [{given!r}]")
        common: dict[str, Any] = {}
        columns: dict[str, Sequence[Any]] = {}
        if isinstance(given, Mapping):
            for name, value in given.items():
                if is_column(value):
                    found = self._values(chunk, value, f"metadata.{name}", problems)
                    columns[name] = metadata_values_of(found or ())
                else:
                    common[name] = value
        else:
            for name in given:
                columns[name] = metadata_values_of(values_of(_named(chunk, name, "metadata")))
                _note(problems, f"metadata.{name}", columns[name])
        return lambda row: common | {name: column[row] for name, column in columns.items()}

    def _values(
        self, chunk: Chunk, given: Any, field: str, problems: Problems
    ) -> Sequence[Any] | None:
        """Return one value a row: of a column of the table, or of what was given beside it."""
        if given is None:
            return None
        values = self._one_a_row(chunk, given, field)
        _note(problems, field, values)
        return values

    def _one_a_row(self, chunk: Chunk, given: Any, field: str) -> Sequence[Any]:
        if isinstance(given, str):
            return values_of(_named(chunk, given, field))
        stop = chunk.start + chunk.rows
        part = (given.iloc if hasattr(given, "iloc") else given)[chunk.start : stop]
        if len(part) < chunk.rows:
            raise InvalidRecordError(field, f"has {len(given)} values, and there are more rows")
        return values_of(part)


def encode_rows(
    encode: Callable[[Record], EncodedRecord],
    records: Sequence[Record | InvalidRecordError],
    start: int,
) -> list[EncodedRecord]:
    """Return records encoded; raises InvalidRecordError that names the row, counted from 0."""
    encoded: list[EncodedRecord] = []
    try:
        for record in records:
            if isinstance(record, InvalidRecordError):
                raise record
            encoded.append(encode(record))
    except InvalidRecordError as error:
        row = start + len(encoded)
        raise InvalidRecordError(f"rows[{row}].{error.field}", error.problem) from None
    return encoded


def _note(problems: Problems, field: str, values: Sequence[Any]) -> None:
    """Note the rows of a column whose value could not be read."""
    for row, problem in problems_of(values).items():
        problems.setdefault(row, InvalidRecordError(field, problem))


def _with_columns(given: MetadataColumns) -> MetadataColumns:
    """Return metadata by name with columns that can be read in parts, and more than once."""
    if not isinstance(given, Mapping):
        return given
    return {
        name: one_a_row(value, f"metadata.{name}") if is_column(value) else value
        for name, value in given.items()
    }


def _named(chunk: Chunk, name: str, field: str) -> Any:
    if name not in chunk.columns:
        known = ", ".join(map(repr, chunk.columns))
        raise InvalidRecordError(field, f"there is no column {name!r}, only {known}")
    return chunk.columns[name]


def _tensors(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """Return arrays of one row; text and bytes as a list, whose zero bytes numpy keeps."""
    return {
        name: np.asarray([value]) if hasattr(value, "dtype") else [value]
        for name, value in zip(names, row, strict=True)
    }
