from hypothesis import given
from hypothesis import strategies as st

from topicserve.worker.breaker import Breaker


def test_opens_when_the_window_is_full_of_dead_letters() -> None:
    """A share above the limit opens it; a few bad records at the start do not."""
    breaker = Breaker(window_records=100, max_dead_letter_share=0.5)

    breaker.observe(99, 99)
    assert not breaker.open
    breaker.observe(1, 0)

    assert breaker.open


def test_stays_open() -> None:
    """Good records that were under way do not close it again."""
    breaker = Breaker(window_records=10, max_dead_letter_share=0.1)
    breaker.observe(10, 10)

    breaker.observe(1000, 0)

    assert breaker.open


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=60))
def test_a_share_within_the_limit_never_opens_it(batches: list[tuple[int, int]]) -> None:
    """Half is allowed, more is not."""
    breaker = Breaker(window_records=100, max_dead_letter_share=0.5)

    for records, dead in batches:
        breaker.observe(records, min(dead, records // 2))

    assert not breaker.open


def test_a_share_of_one_never_opens_it() -> None:
    """That is how the breaker is switched off."""
    breaker = Breaker(window_records=10, max_dead_letter_share=1.0)

    breaker.observe(1000, 1000)

    assert not breaker.open
