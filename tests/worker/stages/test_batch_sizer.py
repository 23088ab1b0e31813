import pytest

from tests.support.stages.records import ROUTE
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.request import Route

BUDGET = 1_000_000


def a_sizer(max_batch_size: int = 1024) -> BatchSizer:
    """Return one that bounds batches by their results alone."""
    return BatchSizer(max_batch_size, 0, BUDGET)


def sizes(sizer: BatchSizer, bytes_a_row: int, batches: int = 8) -> list[int]:
    """Return the rows of so many full batches of rows with results of one size."""
    rows = []
    for _ in range(batches):
        rows.append(sizer.limit(ROUTE))
        sizer.observe_results(ROUTE, rows[-1], rows[-1] * bytes_a_row)
    return rows


def test_batches_are_full_after_a_few_with_small_results() -> None:
    """Four small batches for each route in a worker's life."""
    assert sizes(a_sizer(), 700, 5) == [1, 8, 64, 512, 1024]


@pytest.mark.parametrize("bytes_a_row", [1, 1_000, 40_000, 1_000_000, 10_000_000])
def test_results_stay_within_the_budget_from_the_first_batch(bytes_a_row: int) -> None:
    """But for the first batch, of which nothing is known, and for a row that is larger alone."""
    first, *rest = sizes(a_sizer(), bytes_a_row)

    assert first == BatchSizer.FIRST_ROWS
    assert all(rows == 1 or rows * bytes_a_row <= BUDGET for rows in rest)
    assert rest[-1] == max(1, min(1024, BUDGET // bytes_a_row))


def test_batches_shrink_at_once_and_grow_slowly() -> None:
    """One batch of large results is enough; they are forgotten by a tenth with each small one."""
    sizer = a_sizer()
    sizes(sizer, 10)

    sizer.observe_results(ROUTE, 10, 10 * 100_000)
    large = sizer.limit(ROUTE)
    after = sizes(sizer, 10, 20)

    assert large == 10
    assert after == sorted(after)
    assert after[1] <= large * 1.2


def test_rows_that_are_all_rejected_count_as_seen() -> None:
    """Their dead letters are not written one by one."""
    assert sizes(a_sizer(), 0, 5) == [1, 8, 64, 512, 1024]


def test_each_route_is_learned_and_the_latest_are_remembered() -> None:
    """Producers choose the names in routes: what is kept of them is bounded."""
    sizer = a_sizer()
    sizes(sizer, 10)

    for number in range(5_000):
        sizer.observe_results(Route("digits", None, f"label-{number}", "s"), 100, 100)
        sizer.observe_results(ROUTE, 100, 100)

    assert sizer.remembered <= 1024
    assert sizer.limit(ROUTE) == 1024
    assert sizer.limit(Route("digits", None, "label-0", "s")) == BatchSizer.FIRST_ROWS


def test_a_batch_is_never_larger_than_the_largest_allowed() -> None:
    """Whatever is known."""
    assert sizes(a_sizer(max_batch_size=1), 10, 3) == [1, 1, 1]
    assert BatchSizer(64, 0).limit(ROUTE) == 64


def test_the_target_latency_holds_too() -> None:
    """The smaller of both limits counts."""
    sizer = BatchSizer(1024, 0.05, BUDGET)
    for _ in range(60):
        rows = sizer.limit(ROUTE)
        sizer.observe(ROUTE, rows, rows * 0.001)
        sizer.observe_results(ROUTE, rows, rows * 10)

    assert sizer.limit(ROUTE) == pytest.approx(50, abs=1)
