"""Compares what records were answered in company with what they are answered alone."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import ResourceExhaustedError, ServableError, error_text
from topicserve.servables.kinds.servable import Scope, Servable
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.request import CallOutput

MAX_RECORDS = 4
# Far more than another order of the same sums makes, and less than what a person would call the
# same. Floats of 16 and of 8 bits are not as exact as that.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-5
# Zeros among other numbers are as exact as these; what is rounded there is far below them.
_MUCH_SMALLER = 1e-2
_OF_NARROW_FLOATS = {2: 2e-2, 1: 0.25}
_FLOATS = frozenset("fcV")  # V: TensorFlow's narrow ones


class Difference(NamedTuple):
    """What a record was answered otherwise alone; the output is empty where the call failed."""

    output: str
    problem: str


class UndecidedError(TopicserveError):
    """A lone call failed for a reason that passes, which says nothing."""


def first_difference(
    servable: Servable, signature_name: str, feed: Feed, answers: CallOutput, names: Sequence[str]
) -> Difference | None:
    """Predict up to MAX_RECORDS records alone; return where the first of them differs, if one does.

    An output that is another one each time, for one record alone, says nothing: the model has an
    element of chance. The other outputs of that record are looked at all the same. Raises
    UndecidedError where a lone call fails for a reason that passes.
    """
    counts = [1] * len(feed.requests) if feed.counts is None else feed.counts
    starts = [0, *accumulate(counts)]
    scales = {n: scale_of(answers.outputs[n], has_rows=n not in answers.whole) for n in names}
    for index in sample(feed, starts):
        rows = slice(starts[index], starts[index + 1])
        only = slice(index, index + 1)
        shared = {n: answers.outputs[n] for n in names}
        shared = {n: c if n in answers.whole else c[rows] for n, c in shared.items()}
        alone = _predict_alone(servable, signature_name, feed.part(only))
        differences = list(_differences(shared, alone, scales))
        if not differences:
            continue
        again = _predict_alone(servable, signature_name, feed.part(only))
        for difference in differences:
            if _is_repeated(difference.output, alone, again, scales):
                return difference
    return None


def fails_always(servable: Servable, signature_name: str, feed: Feed, size: int) -> str | None:
    """Call once more what failed; return why it fails, None where it does not or only for now."""
    try:
        feed = feed.part(slice(None))  # the columns of the call that failed may have been changed
        feed.answers(feed.predict(servable, signature_name, size), size)
    # A kind of a user's own may raise anything.
    except BaseException as error:
        return None if _is_passing(error) else error_text(error)
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


def _predict_alone(
    servable: Servable, signature_name: str, feed: Feed
) -> dict[str, NDArray[Any]] | BaseException:
    try:
        outputs = feed.predict(servable, signature_name, feed.rows)
        return dict(feed.answers(outputs, feed.rows).outputs)
    # A kind of a user's own may raise anything; it is an answer, too.
    except BaseException as error:
        if _is_passing(error):
            raise UndecidedError from None
        return error


def _is_passing(error: BaseException) -> bool:
    is_retriable = isinstance(error, ServableError) and error.retriable
    return is_retriable or isinstance(error, (MemoryError, ResourceExhaustedError))


def _differences(
    shared: Mapping[str, NDArray[Any]],
    alone: Mapping[str, NDArray[Any]] | BaseException,
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
        elif not is_same(column, other, scales[name]):
            yield Difference(name, "a record has other values in a call with others than alone")


def _is_repeated(
    name: str,
    alone: Mapping[str, NDArray[Any]] | BaseException,
    again: Mapping[str, NDArray[Any]] | BaseException,
    scales: Mapping[str, Any],
) -> bool:
    """Return whether this output of a record is the same, alone, each time; "" means the call."""
    if isinstance(alone, BaseException) or isinstance(again, BaseException):
        return isinstance(alone, BaseException) and isinstance(again, BaseException)
    one, other = alone.get(name), again.get(name)
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and is_same(one, other, scales[name])


def scale_of(column: NDArray[Any], *, has_rows: bool) -> Any:
    """Return how large a float usually is at each place of a record's output: a median of rows.

    What sums make of large terms that cancel out is exact to the terms' size, not to its own. But
    one large number, a mask's or a time, says nothing of the numbers beside it.
    """
    if column.dtype.kind not in _FLOATS:
        return 0.0
    if not column.size:
        return 0.0
    with np.errstate(all="ignore"):
        sizes = np.abs(column.astype(np.complex128 if column.dtype.kind == "c" else np.float64))
    # Without dimensions these are numpy's scalars, which take no assignment.
    sizes = np.where(np.isfinite(sizes), sizes, 0.0)
    typical = _MUCH_SMALLER * float(np.quantile(sizes, 0.5, method="lower"))
    if not has_rows or not sizes.ndim or len(sizes) < 2:
        return typical
    return np.maximum(np.quantile(sizes, 0.5, axis=0, method="lower"), typical)


def is_same(first: NDArray[Any], second: NDArray[Any], scale: Any) -> bool:
    """Return whether two arrays of one shape are the same, floats within the tolerance.

    `scale` has what `scale_of` gives: one number, or one for each place of a row.
    """
    if not {first.dtype.kind, second.dtype.kind} <= _FLOATS:
        return bool(first.tolist() == second.tolist())
    width = np.dtype(first.dtype).itemsize
    relative = _OF_NARROW_FLOATS.get(width, RELATIVE_TOLERANCE)
    wide = np.complex128 if "c" in (first.dtype.kind, second.dtype.kind) else np.float64
    with np.errstate(all="ignore"):
        one, other = first.astype(wide), second.astype(wide)
        near = np.isclose(one, other, relative, ABSOLUTE_TOLERANCE * scale, equal_nan=True)
    return bool(near.all())
