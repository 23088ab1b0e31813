"""Compares what records were answered in company with what they are answered alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import error_text
from topicserve.servables.kinds.servable import Scope, Servable
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.calls.second_look import second_look
from topicserve.worker.stages.calls.shared_call import (
    Difference,
    Outputs,
    SharedCall,
    is_passing,
)
from topicserve.worker.stages.calls.tolerance import (
    is_equal,
    is_identical,
    is_same,
    scale_of,
)

MAX_RECORDS = 4
# Each costs up to four calls of the same size.
MAX_SECOND_LOOKS = 2


class _Scales(dict[str, Any]):
    """How large the floats of each output are, found when that is asked: answers may be equal."""

    def __init__(self, call: SharedCall) -> None:
        super().__init__()
        self._call = call

    def __missing__(self, name: str) -> Any:
        scale = scale_of(self._call.outputs[name], has_rows=name not in self._call.whole)
        self[name] = scale
        return scale


def first_difference(call: SharedCall, names: Sequence[str]) -> Difference | None:
    """Predict up to MAX_RECORDS records alone; return where the first of them differs, if one does.

    An output that is another one each time, for one record alone, says nothing: the model has an
    element of chance. The other outputs of that record are looked at all the same. What differs
    by less than the tolerance is looked at a second time. Raises UndecidedError where a lone call
    fails for a reason that passes.
    """
    scales = _Scales(call)
    second_looks = 0
    for index in sample(call.feed, call.starts):
        record, rows = call.record(index), call.rows(index)
        shared = {n: call.of_rows(call.outputs, n, rows) for n in names}
        alone = call.predict(record, record.rows)
        differences = list(_differences(shared, alone, scales))
        if differences:
            again = call.predict(call.record(index), record.rows)
            for difference in differences:
                if _is_repeated(difference.output, alone, again):
                    return difference
        doubtful = _doubtful(shared, alone, scales, {one.output for one in differences})
        if doubtful and second_looks < MAX_SECOND_LOOKS:
            second_looks += 1
            found = second_look(call, index, doubtful, scales)
            if found is not None:
                return found
    return None


def fails_always(servable: Servable, signature_name: str, feed: Feed, size: int) -> str | None:
    """Call once more what failed; return why it fails, None where it does not or only for now."""
    try:
        feed = feed.part(slice(None))  # the columns of the call that failed may have been changed
        feed.answers(feed.predict(servable, signature_name, size), size)
    # A kind of a user's own may raise anything.
    except BaseException as error:
        return None if is_passing(error) else error_text(error)
    return None


def sample(feed: Feed, starts: Sequence[int]) -> list[int]:
    """Return which records to look at: those with least and most in them, the first, and the last.

    What differs most from its neighbours shows best what these do to it.
    """
    last = len(feed.requests) - 1
    if last < MAX_RECORDS:
        return list(range(last + 1))
    before = np.concatenate([[0], np.cumsum(_weights(feed))])[starts]
    weights = np.diff(before)
    chosen = [int(weights.argmin()), int(weights.argmax()), 0, last, last // 2, last // 3]
    return list(dict.fromkeys(chosen))[:MAX_RECORDS]


def _weights(feed: Feed) -> NDArray[np.int64]:
    """Return how much each row holds: bytes of text, and numbers that are not zero."""
    weights = np.zeros(feed.rows, np.int64)
    for name, column in feed.columns.items():
        if feed.signature.inputs[name].scope is not Scope.ROW or not column.size:
            continue
        flat = column.reshape(len(column), -1)
        if column.dtype.hasobject:
            weights += [
                sum(len(item) for item in row if isinstance(item, bytes)) for row in flat.tolist()
            ]
        elif column.ndim > 1:
            weights += np.count_nonzero(flat, axis=1)
    return weights


def _doubtful(
    shared: Outputs, alone: Outputs | BaseException, scales: Outputs, known: set[str]
) -> list[str]:
    """Return the outputs that differ from a lone record's by more than their last places."""
    if isinstance(alone, BaseException):
        return []
    return [
        name
        for name, column in shared.items()
        if name not in known
        and not is_identical(column, alone[name])
        and not is_equal(column, alone[name], scales[name])
    ]


def _differences(
    shared: Outputs,
    alone: Outputs | BaseException,
    scales: Mapping[str, Any],
) -> Iterator[Difference]:
    """Yield every output that differs."""
    if isinstance(alone, BaseException):
        yield Difference("", f"a record fails alone: {error_text(alone)}")
        return
    for name, column in shared.items():
        other = alone.get(name)
        if other is None:
            yield Difference(name, "a record alone has no such output")
        elif column.shape != other.shape:
            shapes = f"{list(column.shape)} in a call with others, {list(other.shape)} alone"
            yield Difference(name, f"a record has the shape {shapes}")
        elif not is_identical(column, other) and not is_same(column, other, scales[name]):
            yield Difference(name, "a record has other values in a call with others than alone")


def _is_repeated(
    name: str,
    alone: Outputs | BaseException,
    again: Outputs | BaseException,
) -> bool:
    """Return whether this output of a record is the same, alone, each time; "" means the call."""
    if isinstance(alone, BaseException) or isinstance(again, BaseException):
        return isinstance(alone, BaseException) and isinstance(again, BaseException)
    one, other = alone.get(name), again.get(name)
    if one is None or other is None:
        return one is other
    # Its own scale: where the record had another shape in company, that one's does not fit.
    return one.shape == other.shape and is_same(one, other, scale_of(one, has_rows=False))
