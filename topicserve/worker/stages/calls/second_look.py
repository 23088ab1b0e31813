"""Decides whether a small difference between a record alone and in company is one of rounding.

Another number of rows may be added up in another order, so that a lone answer differs in its last
digits. Calls of one size compute one row in one way. So the record takes the place of all others,
in a call of the same size: what changes then, the others did. And copies of it in one call must get
one answer: a few, where rows at the end are computed otherwise, but not each another one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from topicserve.servables.kinds.servable import Scope
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.calls.shared_call import Difference, Outputs, SharedCall
from topicserve.worker.stages.calls.tolerance import is_equal

COPIES = 16
MAX_ROWS = 1024
# A graph may pad texts to the longest of a call, and so add up more zeros in another order.
OF_TEXTS = 1e-4


def second_look(
    call: SharedCall, index: int, names: Sequence[str], scales: Outputs
) -> Difference | None:
    """Return the first of these outputs of a record that its company or its place changes."""
    record, rows = call.record(index), call.rows(index)
    copies = call.predict(record.filling(rows.start, call.size), call.size)
    if not isinstance(copies, BaseException):
        for name in names:
            if _is_changed_by_others(call, rows, name, copies, scales[name]):
                return Difference(
                    name, "a record has other values beside others than beside itself"
                )
    for name in _changed_by_place(call, record, set(names) - call.whole):
        return Difference(name, "equal records have other values, each by its place in a call")
    return None


def _is_changed_by_others(
    call: SharedCall, rows: slice, name: str, copies: Outputs, scale: Any
) -> bool:
    """Return whether an output is another one beside copies; chance, which changes all, is not."""
    tolerance = OF_TEXTS if _has_texts(call.feed) else 0.0
    here = call.of_rows(call.outputs, name, rows)
    beside_itself = call.of_rows(copies, name, rows)
    if here.shape == beside_itself.shape and is_equal(here, beside_itself, scale, tolerance):
        return False
    again = call.again
    return not isinstance(again, BaseException) and _has_same_bits(call.outputs, again, name)


def _changed_by_place(call: SharedCall, record: Feed, names: Iterable[str]) -> Iterator[str]:
    """Yield the outputs of which each of many copies in one call has another, the same each time.

    One whose copies differ in two calls is of chance.
    """
    rows = record.rows
    size = max(call.size, COPIES * rows)
    if size > MAX_ROWS and size > call.size:
        return
    first, second = (call.predict(record.filling(0, size), size) for _ in range(2))
    if isinstance(first, BaseException) or isinstance(second, BaseException):
        return
    count = size // rows
    for name in sorted(names):
        copies = first[name][: count * rows].reshape(count, -1)
        if len({copy.tobytes() for copy in copies}) == count and _has_same_bits(
            first, second, name
        ):
            yield name


def _has_same_bits(first: Outputs, second: Outputs, name: str) -> bool:
    """Return whether two equal calls gave the same: else some chance is in it, as on many GPUs."""
    return first[name].tobytes() == second[name].tobytes()


def _has_texts(feed: Feed) -> bool:
    specs = feed.signature.inputs
    return any(
        column.dtype.hasobject and specs[name].scope is Scope.ROW
        for name, column in feed.columns.items()
    )
