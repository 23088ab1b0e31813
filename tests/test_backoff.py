from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.backoff import Backoff

_SECONDS = st.floats(0, 1e6)


def test_pauses_double_up_to_the_longest() -> None:
    """From the first one on; the bound is no multiple of it."""
    assert list(islice(Backoff(0.5, 3.0).pauses(), 5)) == [0.5, 1.0, 2.0, 3.0, 3.0]


@given(_SECONDS, _SECONDS, st.integers(1, 10**9))
def test_no_pause_is_longer_than_the_longest(first: float, longest: float, failures: int) -> None:
    """However many failures there were: nothing overflows."""
    assert 0 <= Backoff(first, longest).pause_seconds(failures) <= longest


@pytest.mark.parametrize("jitter", [0.2, 1.0])
def test_jitter_shortens_each_pause_by_a_share(jitter: float) -> None:
    """A random one: two that fail together do not come back together."""
    backoff = Backoff(1.0, 8.0, jitter)
    dues = list(islice(Backoff(1.0, 8.0).pauses(), 50))

    found = list(islice(backoff.pauses(), 50))

    assert all((1 - jitter) * due <= one <= due for one, due in zip(found, dues, strict=True))
    assert any(before != after for before, after in pairwise(found[10:]))


@given(st.integers(1, 10**9), st.floats(0, 1e6))
def test_a_try_after_a_pause_has_half_of_the_time_left(failures: int, left: float) -> None:
    """Where hardly any time is left, there is no other try."""
    backoff = Backoff(0.05, 10.0)

    pause = backoff.pause_within(failures, left)

    if left <= 0.05:
        assert pause is None
    else:
        assert pause == min(backoff.pause_seconds(failures), left / 2)
