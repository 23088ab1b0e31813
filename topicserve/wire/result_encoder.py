"""Results as a worker writes them, a batch at a time.

For the worker alone. Bodies are joined from pieces that were encoded a column at a time.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import orjson
from numpy.typing import NDArray

from topicserve.wire import header_names as names
from topicserve.wire.bodies.codec import BodyCodec, ResultWriter
from topicserve.wire.input_record import InputRecord
from topicserve.wire.json_codec.body import WHOLE_FORMS, Form
from topicserve.wire.json_codec.values import column_pieces, row_pieces, whole_piece
from topicserve.wire.kafka_record import OutgoingRecord
from topicserve.wire.result import RESULT_KEYS, Metadata

_INSTANCE, _ROW, _INSTANCES = Form.INSTANCE, Form.ROW, Form.INSTANCES
_INSTANCE_MEMBER, _INSTANCES_MEMBER, _INPUTS_MEMBER = (
    b',"%b":' % RESULT_KEYS[form].encode() for form in (Form.INSTANCE, Form.INSTANCES, Form.INPUTS)
)
_MEMBERS = {_INSTANCES: _INSTANCES_MEMBER, Form.INPUTS: _INPUTS_MEMBER}

# Rows that are written at once where records have many.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Origin:
    """Who answered: the servable's version, the signature, and the worker that asked it."""

    servable: str
    version: int
    signature_name: str
    worker_id: str

    def of_version(self, version: int) -> "Origin":
        """Return the same of another version."""
        return replace(self, version=version)


def encode_results(
    topic: str,
    origin: Origin,
    inputs: Sequence[InputRecord],
    keys: Sequence[bytes | None],
    outputs: Mapping[str, NDArray[Any]],
    metadata: Sequence[Metadata],
    counts: Sequence[int] | None = None,
    whole: Collection[str] = (),
) -> list[OutgoingRecord]:
    """Return one result for each input record, in order.

    `outputs` has the rows of all the inputs, one after the other: `counts` of each, by default as
    many as the record says. Those that are `whole` have no rows and go to each record as they are.
    """
    lone_rows = len([r for r in inputs if r.form is _INSTANCE or r.form is _ROW]) == len(inputs)
    if counts is None:
        counts = [1] * len(inputs) if lone_rows else [record.rows for record in inputs]
    if not lone_rows and any(record.form in WHOLE_FORMS for record in inputs):
        return _encode_in_own_forms(topic, origin, inputs, keys, outputs, metadata, counts, whole)
    common = _common_headers(origin, names.JSON_CONTENT_TYPE)
    by_whom = _json_origin(origin)
    id_name, join = names.ID, b"".join
    values: Iterable[tuple[bytes, bytes]]
    if lone_rows:
        pieces = row_pieces(outputs, whole, sum(counts) if whole else 0)
        values = zip(repeat(_INSTANCE_MEMBER), pieces)
    elif (lists := _lists_of_rows(inputs, outputs, counts, whole)) is not None:
        values = zip([_MEMBERS[record.form] for record in inputs], lists, strict=True)
    elif sum(counts) <= _ROWS_AT_ONCE:
        pieces = row_pieces(outputs, whole, sum(counts) if whole else 0)
        values = _values(inputs, pieces, outputs, counts, whole)
    else:
        values = _values_apart(inputs, outputs, counts, whole)
    ids = [record.record_id.encode() for record in inputs]
    results = []
    for record, record_id, shown, key, joined, (member, value) in zip(
        inputs, ids, _in_json(ids), keys, metadata, values, strict=True
    ):
        status, content = joined.status, joined.content
        found = b"null" if content is None else content
        body = join(
            (b'{"id":"', shown, by_whom, member, value, b',"metadata":', found, status.closing)
        )
        headers = [*common, (id_name, record_id), status.header, *record.trace]
        results.append(OutgoingRecord(topic, key, body, headers))
    return results


def _in_json(ids: Sequence[bytes]) -> Sequence[bytes]:
    """Return record ids as they stand in a JSON string, nearly always as they are."""
    together = b"".join(ids)
    # A record id has no control characters, so nothing else needs an escape.
    if b'"' in together or b"\\" in together:
        return [orjson.dumps(one.decode())[1:-1] for one in ids]
    return ids


def _common_headers(origin: Origin, content_type: str) -> list[tuple[str, bytes | None]]:
    return [
        (names.SPECVERSION, names.SPECVERSION_VALUE.encode()),
        (names.TYPE, names.RESULT_TYPE.encode()),
        (names.SOURCE, b"/topicserve"),
        (names.CONTENT_TYPE, content_type.encode()),
        (names.SERVABLE, origin.servable.encode()),
        (names.SERVABLE_VERSION, b"%d" % origin.version),
    ]


def _json_origin(origin: Origin) -> bytes:
    """Return what the bodies of one batch have in common, from the end of the id on."""
    servable = orjson.dumps({"name": origin.servable, "version": origin.version})
    return b'","servable":%b,"signature_name":%b,"worker":%b' % (
        servable,
        orjson.dumps(origin.signature_name),
        orjson.dumps(origin.worker_id),
    )


def _lists_of_rows(
    inputs: Sequence[InputRecord],
    outputs: Mapping[str, NDArray[Any]],
    counts: Sequence[int],
    whole: Collection[str],
) -> Sequence[bytes] | None:
    """Return each record's rows as a list, if all have as many and there is a single output.

    `instances` and `inputs` are then answered alike. None for others: see `_values`.
    """
    if whole or len(outputs) != 1 or sum(counts) > _ROWS_AT_ONCE or len(set(counts)) != 1:
        return None
    if any(record.form not in _MEMBERS for record in inputs):
        return None
    ((name, column),) = outputs.items()
    return column_pieces(name, column.reshape(len(inputs), counts[0], *column.shape[1:]))


def _values(
    inputs: Sequence[InputRecord],
    pieces: Sequence[bytes],
    outputs: Mapping[str, NDArray[Any]],
    counts: Sequence[int],
    whole: Collection[str],
) -> Iterator[tuple[bytes, bytes]]:
    """Yield each record's member, up to its value, and the value, where one record's rows end."""
    start = 0
    for record, count in zip(inputs, counts, strict=True):
        stop = start + count
        if record.form is _INSTANCE or record.form is _ROW:
            yield _INSTANCE_MEMBER, pieces[start]
        elif record.form is _INSTANCES:
            yield _INSTANCES_MEMBER, b"[%b]" % b",".join(pieces[start:stop])
        else:
            yield _INPUTS_MEMBER, _json_columns(_slice(outputs, start, stop, whole))
        start = stop


def _values_apart(
    inputs: Sequence[InputRecord],
    outputs: Mapping[str, NDArray[Any]],
    counts: Sequence[int],
    whole: Collection[str],
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the same as `_values`, with the pieces of a few rows alone at a time.

    A piece takes far more memory than its text, and a record may have half a million rows.
    """
    start = 0
    for record, count in zip(inputs, counts, strict=True):
        own = _slice(outputs, start, start + count, whole)
        start += count
        if record.form is _INSTANCE or record.form is _ROW:
            yield _INSTANCE_MEMBER, row_pieces(own, whole, 1)[0]
        elif record.form is _INSTANCES:
            yield _INSTANCES_MEMBER, b"[%b]" % b",".join(_row_texts(own, count, whole))
        else:
            yield _INPUTS_MEMBER, _json_columns(own)


def _row_texts(
    outputs: Mapping[str, NDArray[Any]], rows: int, whole: Collection[str]
) -> Iterator[bytes]:
    for start in range(0, rows, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, rows)
        yield b",".join(row_pieces(_slice(outputs, start, stop, whole), whole, stop - start))


def _slice(
    outputs: Mapping[str, NDArray[Any]], start: int, stop: int, whole: Collection[str]
) -> Mapping[str, NDArray[Any]]:
    return {n: column if n in whole else column[start:stop] for n, column in outputs.items()}


def _json_columns(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Return TF Serving's column format: the only output's value, or an object of several."""
    columns = {name: whole_piece(name, column) for name, column in outputs.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    members = (b"%b:%b" % (orjson.dumps(name), column) for name, column in columns.items())
    return b"{%b}" % b",".join(members)


def _encode_in_own_forms(
    topic: str,
    origin: Origin,
    inputs: Sequence[InputRecord],
    keys: Sequence[bytes | None],
    outputs: Mapping[str, NDArray[Any]],
    metadata: Sequence[Metadata],
    counts: Sequence[int],
    whole: Collection[str],
) -> list[OutgoingRecord]:
    """Encode a batch in which some records, or all, are answered in another form than JSON."""
    writers: dict[int, tuple[ResultWriter, list[tuple[str, bytes | None]]]] = {}
    results: list[OutgoingRecord] = []
    start, codec = 0, None
    for record, key, found, count in zip(inputs, keys, metadata, counts, strict=True):
        if record.form in WHOLE_FORMS:
            if record.codec is not codec:
                codec = record.codec
                if id(codec) not in writers:
                    writers[id(codec)] = _writer_of(codec, origin, outputs, whole)
                writer, common = writers[id(codec)]
            body = writer.write(record, start, count, found)
            headers = [
                *common,
                (names.ID, record.record_id.encode()),
                found.status.header,
                *record.trace,
            ]
            if found.content is not None:
                headers.append((names.METADATA_JSON, found.content))
            results.append(OutgoingRecord(topic, key, body, headers))
        else:
            own = _slice(outputs, start, start + count, whole)
            results += encode_results(topic, origin, [record], [key], own, [found], [count], whole)
        start += count
    return results


def _writer_of(
    codec: BodyCodec, origin: Origin, outputs: Mapping[str, NDArray[Any]], whole: Collection[str]
) -> tuple[ResultWriter, list[tuple[str, bytes | None]]]:
    """Return what writes a codec's results, and the headers that they have in common."""
    writer = codec.writer(origin, outputs, whole)
    assert writer is not None
    common = _common_headers(origin, writer.content_type)
    return writer, [*common, (names.WORKER, origin.worker_id.encode())]
