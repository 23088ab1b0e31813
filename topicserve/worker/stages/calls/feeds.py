"""Which records of a batch share a call, and what each call is fed with.

A batch of lone rows, the common case, is converted in one go. Where that fails, or where the
requests are of several forms, each is converted alone: so that the one at fault is found before the
batch is built, and those that must not share a call go to different feeds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    RowCountError,
    error_text,
)
from topicserve.servables.kinds.defaults import must_be_alone
from topicserve.servables.kinds.own_arrays import own_arrays
from topicserve.servables.kinds.predict_checks import ALONE_REMEDY
from topicserve.servables.kinds.servable import Columns, Scope, Servable, Signature
from topicserve.wire.dead_letter import Reason
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.json_codec.body import WHOLE_FORMS, Form
from topicserve.wire.json_codec.values import is_lossless
from topicserve.worker.stages.calls.arrays import InvalidInputError, OutOfRangeError
from topicserve.worker.stages.calls.columns import columns_at_once
from topicserve.worker.stages.calls.outputs import check_outputs
from topicserve.worker.stages.calls.record_columns import (
    RecordColumns,
    read_alike,
    read_record,
    same_in,
)
from topicserve.worker.stages.request import CallOutput, Rejection, Request

_INSTANCE = Form.INSTANCE  # looked at once a record: a global costs less than a member


@dataclass(frozen=True, slots=True)
class Feed:
    """Requests that share one call, their rows one after the other in `columns`."""

    requests: Sequence[Request]
    columns: Columns
    signature: Signature
    """What is asked for: all inputs, and the outputs that these requests want."""
    counts: Sequence[int] | None = None
    """How many rows each request has; None: one."""
    has_rows: bool = True
    """Whether outputs of which it cannot be told may have rows."""
    selects: bool = False
    """Whether these are not all outputs that there are."""
    stacked: tuple[str, ...] = ()
    """Inputs of which it could not be told, and that have the rows of the only record."""

    @property
    def rows(self) -> int:
        """Return how many rows the columns have."""
        return len(self.requests) if self.counts is None else sum(self.counts)

    def halves(self) -> Iterator["Feed"]:
        """Yield two feeds, split between requests, never within one; needs at least two."""
        middle = len(self.requests) // 2
        for requests in (slice(middle), slice(middle, None)):
            yield self.part(requests)

    def each(self) -> Iterator["Feed"]:
        """Yield a feed for each request."""
        for index in range(len(self.requests)):
            yield self.part(slice(index, index + 1))

    def part(self, part: slice) -> "Feed":
        """Return the feed of some requests.

        Columns are made from the requests again: a servable may have changed those of the call.
        """
        requests = self.requests[part]
        counts = None if self.counts is None else self.counts[part]
        columns = _columns_of(requests, self.signature)
        return replace(self, requests=requests, columns=columns, counts=counts)

    def padded(self, size: int) -> Columns:
        """Return the columns filled up with their last row to so many rows, as TF Serving does."""
        missing = size - self.rows
        if missing == 0:
            return self.columns
        return {
            name: np.concatenate([column, np.repeat(column[-1:], missing, axis=0)])
            if self._has_rows(name)
            else column
            for name, column in self.columns.items()
        }

    def with_one_row_more(self) -> "Feed":
        """Return the feed of a lone record with its last row twice."""
        part = self.part(slice(None))  # the columns of the call may have been changed
        return replace(part, columns=part.padded(self.rows + 1), counts=[self.rows + 1])

    def filling(self, start: int, size: int) -> "Feed":
        """Return the feed of a lone record that takes so many rows, its own over and over.

        Its first row is at `start`.
        """
        part = self.part(slice(None))
        order = (np.arange(size) - start) % self.rows
        columns = {
            name: column[order] if self._has_rows(name) else column
            for name, column in part.columns.items()
        }
        return replace(part, columns=columns, counts=[size])

    def predict(self, servable: Servable, signature_name: str, size: int) -> Columns:
        """Call the servable with so many rows, for the outputs that are wanted if it can.

        Raises FailedPreconditionError for what no result can carry.
        """
        columns = self.padded(size)
        select = getattr(servable, "predict_outputs", None) if self.selects else None
        if select is None:
            outputs = servable.predict(columns, signature_name)
        else:
            outputs = select(columns, signature_name, self.signature.outputs)
        # Checked first: not everything that claims to be an array can be copied.
        return own_arrays(servable, check_outputs(outputs, size))

    def answers(self, outputs: Columns, size: int) -> CallOutput:
        """Return what a call with so many rows gave, without the padding.

        Raises RowCountError where an output has not the rows that it should have, and
        FailedPreconditionError where one is missing, and for what JSON cannot carry.
        """
        rows, specs = self.rows, self.signature.outputs
        if outputs.keys() != specs.keys():
            outputs = self._selected(outputs)
        columns: dict[str, NDArray[Any]] = {}
        whole = []
        for name, column in outputs.items():
            scope = specs[name].scope
            is_by_row = column.ndim > 0 and len(column) == size
            if scope is Scope.ROW and not is_by_row:
                raise RowCountError(
                    f"output {name!r} has the shape {column.shape} for {size} rows; for a model "
                    f"that answers so, {ALONE_REMEDY}"
                )
            if scope is Scope.ROW or (scope is Scope.UNKNOWN and is_by_row and self.has_rows):
                columns[name] = column if size == rows else column[:rows]
            else:
                whole.append(name)
                columns[name] = column
            if not is_lossless(column.dtype) and not self._is_in_arrays():
                raise FailedPreconditionError(
                    f"output {name!r} is {column.dtype.name}, which JSON cannot hold without loss"
                )
        declared = self.signature.declared_row_shapes
        if declared and self._is_in_arrays():
            shaped = {n: columns[n].reshape(-1, *declared[n]) for n in declared if n in columns}
            columns |= shaped
        return CallOutput(self.requests, columns, self.counts, frozenset(whole))

    def _has_rows(self, name: str) -> bool:
        return self.signature.inputs[name].scope is Scope.ROW or name in self.stacked

    def _is_in_arrays(self) -> bool:
        return all(request.input.form in WHOLE_FORMS for request in self.requests)

    def _selected(self, outputs: Columns) -> Columns:
        """Return the outputs that were asked for; what else a servable returns is left out."""
        missing = sorted(self.signature.outputs.keys() - outputs.keys())
        if missing:
            raise FailedPreconditionError(f"the servable did not return the output {missing[0]!r}")
        return {name: outputs[name] for name in self.signature.outputs}


def build_feeds(
    requests: Sequence[Request], signature: Signature
) -> tuple[list[Feed], list[Rejection]]:
    """Return the feeds of a batch, in order, and the requests that fit none; there are some."""
    # What is too large for a narrow float is infinite, as in TF Serving, and no news.
    if requests[0].input.layout is not None:
        alike = _feed_of_one_layout(requests, signature)
        if alike is not None:
            return [alike], []
    with np.errstate(over="ignore"):
        if signature.takes_only_rows and _lost_in_json(signature) is None:
            lone = [r.input.content for r in requests if r.input.form is _INSTANCE]
            if len(lone) == len(requests):
                columns = columns_at_once(lone, signature)
                if columns and not must_be_alone(signature, columns):
                    return [Feed(requests, columns, signature)], []
        return _feeds_one_by_one(requests, signature)


def _feed_of_one_layout(requests: Sequence[Request], signature: Signature) -> Feed | None:
    """Return the feed of records that differ in their numbers alone; None for others."""
    layout = requests[0].input.layout
    if layout is None or not signature.takes_only_rows:
        return None
    contents = [r.input.content for r in requests if r.input.layout is layout]
    if len(contents) < len(requests):
        return None
    try:
        chosen = _choose(requests[0].input.output_filter, {(): signature})
        if requests[0].input.form not in WHOLE_FORMS and _lost_in_json(chosen) is not None:
            return None
        with np.errstate(over="ignore"):
            columns, counts = read_alike(layout, contents, chosen)
    # Each is looked at alone, which tells what is wrong with it.
    except Exception:
        return None
    selects = len(chosen.outputs) < len(signature.outputs)
    return Feed(requests, columns, chosen, None if max(counts) == 1 else counts, selects=selects)


def _lost_in_json(signature: Signature) -> InvalidInputError | None:
    """Return why no JSON record can be answered, None where it can."""
    for name, spec in signature.outputs.items():
        if not is_lossless(spec.dtype):
            return InvalidInputError(
                f"output {name!r} is {spec.dtype.name}, which JSON cannot hold without loss; "
                "send the record as application/x-protobuf"
            )
    return None


def _feeds_one_by_one(
    requests: Sequence[Request], signature: Signature
) -> tuple[list[Feed], list[Rejection]]:
    groups: dict[Any, list[tuple[Request, RecordColumns]]] = {}
    choices: dict[tuple[str, ...], Signature] = {(): signature}
    rejections = []
    for request in requests:
        try:
            wanted = _choose(request.input.output_filter, choices)
            if request.input.form not in WHOLE_FORMS:
                problem = _lost_in_json(wanted)
                if problem is not None:
                    raise problem
            read = read_record(request.input, wanted)
        except OutOfRangeError as error:
            problem = error.as_written(request.record.value)
            rejections.append(Rejection(request, Reason.INVALID_INPUT, problem))
        except (InvalidInputError, InvalidArgumentError) as error:
            rejections.append(Rejection(request, Reason.INVALID_INPUT, error))
        except InvalidRecordError as error:
            rejections.append(Rejection(request, Reason.INVALID_RECORD, error))
        # Whatever else is raised, MemoryError included, this record asked for: it was alone.
        except Exception as error:
            problem = InvalidInputError(f"cannot become tensors: {error_text(error)}")
            rejections.append(Rejection(request, Reason.INVALID_INPUT, problem))
        else:
            key = len(groups) if read.is_alone else _key(request.input.form, read.columns, wanted)
            groups.setdefault(key, []).append((request, read))
    feeds: list[Feed] = []
    for group in groups.values():
        chosen = choices[group[0][0].input.output_filter]
        try:
            feeds.append(_feed(group, chosen, signature))
        except MemoryError:  # each has room alone: it was read so
            feeds += [_feed([one], chosen, signature) for one in group]
    return feeds, rejections


def _choose(names: tuple[str, ...], choices: dict[tuple[str, ...], Signature]) -> Signature:
    """Return the signature with the outputs that a record's output_filter names.

    Unknown and repeated names are refused in TF Serving's words (predict_util.cc).
    """
    chosen = choices.get(names)
    if chosen is not None:
        return chosen
    signature = choices[()]
    for index, name in enumerate(names):
        if name not in signature.outputs:
            known = ",".join(sorted(signature.outputs))
            raise InvalidInputError(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {{{known}}}."
            )
        if name in names[:index]:
            raise InvalidInputError(f"duplicate output tensor alias: {name}")
    chosen = choices[names] = signature.with_outputs(names)
    return chosen


def _key(form: Form, columns: Columns, signature: Signature) -> Any:
    """Return what records that share a call have in common."""
    specs = signature.inputs
    shapes = tuple(
        (name, column.shape[1:] if specs[name].scope is Scope.ROW else same_in(column))
        for name, column in sorted(columns.items())
    )
    is_shaped = bool(signature.declared_row_shapes) and form in WHOLE_FORMS
    return frozenset(signature.outputs), shapes, is_shaped


def _feed(
    group: Sequence[tuple[Request, RecordColumns]], chosen: Signature, signature: Signature
) -> Feed:
    reads = [read for _, read in group]
    return Feed(
        [request for request, _ in group],
        _joined(group, chosen),
        chosen,
        [read.count for read in reads],
        reads[0].has_rows,
        selects=len(chosen.outputs) < len(signature.outputs),
        stacked=reads[0].stacked,
    )


def _columns_of(requests: Sequence[Request], signature: Signature) -> Columns:
    """Return the columns of requests that are known to share a call."""
    alike = _feed_of_one_layout(requests, signature)
    if alike is not None:
        return alike.columns
    with np.errstate(over="ignore"):
        if signature.takes_only_rows and all(r.input.form is _INSTANCE for r in requests):
            columns = columns_at_once([r.input.content for r in requests], signature)
            if columns:
                return columns
        return _joined([(r, read_record(r.input, signature)) for r in requests], signature)


def _joined(group: Sequence[tuple[Request, RecordColumns]], signature: Signature) -> Columns:
    specs = signature.inputs
    request, read = group[0]
    # A protobuf record holds its tensors itself, and so may a body of a user's own. A servable may
    # change what it is fed with, and the record may be predicted again: by a predecessor, by a
    # shadow, after a pause.
    is_held = request.input.form in WHOLE_FORMS and not request.input.is_undecoded
    columns: dict[str, NDArray[Any]] = {}
    for name, column in read.columns.items():
        if len(group) > 1 and specs[name].scope is Scope.ROW:
            columns[name] = np.concatenate([other.columns[name] for _, other in group])
        else:
            columns[name] = column.copy() if is_held else column
    return columns
