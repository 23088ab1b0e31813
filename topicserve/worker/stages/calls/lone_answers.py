"""Compares what records were answered in company with what they are answered alone."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import ResourceExhaustedError, ServableError, error_text
from topicserve.servables.kinds.servable import Scope, Servable
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.request import CallOutput

MAX_RECORDS = 4
# Far more than another order of the same sums makes, and less than what a person would call the
# same. Floats of 16 and of 8 bits are not as exact as that.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-5
_OF_NARROW_FLOATS = {2: 2e-2, 1: 0.25}
_FLOATS = frozenset("fcV")  # V: TensorFlow's narrow ones


class Difference(NamedTuple):
    """What a record was answered otherwise alone; the output is empty where the call failed."""

    output: str
    problem: str


class UndecidedError(Exception):
    """A lone call failed for a reason that passes, which says nothing."""


def first_difference(
    servable: Servable, signature_name: str, feed: Feed, answers: CallOutput, names: Sequence[str]
) -> Difference | None:
    """Predict up to MAX_RECORDS records alone; return where the first of them differs, if one does.

    A record whose lone answer is another one each time says nothing: the model has an element of
    chance. Raises UndecidedError where a lone call fails for a reason that passes.
    """
    counts = [1] * len(feed.requests) if feed.counts is None else feed.counts
    starts = [0, *accumulate(counts)]
    for index in sample(feed, starts):
        rows = slice(starts[index], starts[index + 1])
        only = slice(index, index + 1)
        shared = {n: answers.outputs[n] for n in names}
        shared = {n: c if n in answers.whole else c[rows] for n, c in shared.items()}
        alone = _predict_alone(servable, signature_name, feed.part(only))
        difference = _difference(shared, alone)
        if difference is None:
            continue
        again = _predict_alone(servable, signature_name, feed.part(only))
        is_repeated = (
            isinstance(again, BaseException)
            if isinstance(alone, BaseException)
            else _difference({n: alone[n] for n in alone if n in names}, again) is None
        )
        if is_repeated:
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


def _difference(
    shared: dict[str, NDArray[Any]], alone: dict[str, NDArray[Any]] | BaseException
) -> Difference | None:
    if isinstance(alone, BaseException):
        return Difference("", f"a record fails alone: {error_text(alone)}")
    for name, column in shared.items():
        other = alone.get(name)
        if other is None:
            return Difference(name, "a record alone has no such output")
        if column.shape != other.shape:
            shapes = f"{list(column.shape)} in a call with others, {list(other.shape)} alone"
            return Difference(name, f"a record has the shape {shapes}")
        if not is_same(column, other):
            return Difference(name, "a record has other values in a call with others than alone")
    return None


def is_same(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Return whether two arrays of one shape are the same, floats within the tolerance."""
    if not {first.dtype.kind, second.dtype.kind} <= _FLOATS:
        return bool(first.tolist() == second.tolist())
    width = np.dtype(first.dtype).itemsize
    relative = _OF_NARROW_FLOATS.get(width, RELATIVE_TOLERANCE)
    wide = np.complex128 if first.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        one, other = first.astype(wide), second.astype(wide)
        sizes = np.abs(one)
        scale = float(sizes[np.isfinite(sizes)].max(initial=0.0))
        near = np.isclose(one, other, relative, ABSOLUTE_TOLERANCE * scale, equal_nan=True)
    return bool(near.all())
