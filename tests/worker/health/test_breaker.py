import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.wire.dead_letter import Reason
from topicserve.worker.health.breaker import Breaker
from topicserve.worker.stages.request import Rejection


def observe(breaker: Breaker, records: int, dead_letters: int) -> bool:
    """Let a breaker look at a batch with so many dead letters."""
    polled: Any = None
    rejection = Rejection(polled, Reason.INVALID_RECORD, ValueError("no JSON"))
    return breaker.admit(records, [rejection] * dead_letters)


def test_opens_when_the_window_is_full_of_dead_letters() -> None:
    """A share above the limit opens it; a few bad records at the start do not."""
    breaker = Breaker(window_records=100, max_dead_letter_share=0.5)

    observe(breaker, 99, 99)
    assert not breaker.open
    observe(breaker, 1, 0)

    assert breaker.open


def test_stays_open() -> None:
    """Good records that were in progress do not close it again."""
    breaker = Breaker(window_records=10, max_dead_letter_share=0.1)
    observe(breaker, 10, 10)

    observe(breaker, 1000, 0)

    assert breaker.open


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=60))
def test_a_share_within_the_limit_never_opens_it(batches: list[tuple[int, int]]) -> None:
    """Half is allowed, more is not."""
    breaker = Breaker(window_records=100, max_dead_letter_share=0.5)

    for records, dead in batches:
        observe(breaker, records, min(dead, records // 2))

    assert not breaker.open


def test_a_share_of_one_never_opens_it() -> None:
    """That is how the breaker is switched off."""
    breaker = Breaker(window_records=10, max_dead_letter_share=1.0)

    observe(breaker, 1000, 1000)

    assert not breaker.open


def test_what_opens_it_and_all_that_follows_is_held_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line of the log says so, with the last reason and problem."""
    breaker = Breaker(window_records=10, max_dead_letter_share=0.5)

    with caplog.at_level(logging.ERROR, "topicserve"):
        admitted = [observe(breaker, 5, 5), observe(breaker, 5, 5), observe(breaker, 5, 0)]

    assert admitted == [True, False, False]
    (line,) = caplog.records
    assert line.msg == "breaker_opened"
    fields = line.__dict__["fields"]
    assert (fields["records"], fields["dead_letters"]) == (10, 10)
    assert (fields["reason"], fields["problem"]) == ("invalid_record", "no JSON")


def test_an_open_breaker_says_why_and_what_to_do() -> None:
    """For pages that people look at when nothing is answered any more."""
    breaker = Breaker(window_records=10, max_dead_letter_share=0.5)
    observe(breaker, 5, 5)
    assert not breaker.problems

    observe(breaker, 1_000, 995)

    assert breaker.problems == (
        "the breaker is open: 995 of the newest 1,000 records would have become dead letters "
        "(delivery.max_dead_letter_share is 0.5), so consumption is paused. Fix the cause, then "
        "restart the worker",
        "the last of them as invalid_record: no JSON",
    )
