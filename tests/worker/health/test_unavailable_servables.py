import logging

import pytest

from tests.support.stages.logged import Logged
from tests.support.stages.records import ROUTE, ManualClock
from topicserve.worker.health.unavailable_servables import UnavailableServables
from topicserve.worker.stages.request import Route

OTHER = Route("words", None, None, "serving_default")


def test_a_route_that_waits_is_told_of_once_and_when_it_goes_on(
    caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """Ten times a second a batch comes back; another servable's batches change nothing."""
    caplog.set_level(logging.INFO)
    waiting = UnavailableServables()

    for _ in range(3):
        waiting.note(ROUTE, "no version")
        waiting.clear(OTHER)
    assert waiting
    waiting.clear(ROUTE)
    waiting.clear(ROUTE)

    assert not waiting
    assert [record.message for record in caplog.records] == [
        "servable_unavailable",
        "servable_available",
    ]
    assert logged("servable_unavailable") == [{"servable": "digits", "problem": "no version"}]
    assert logged("servable_available") == [{"servable": "digits"}]


def test_a_long_wait_is_told_of_every_minute(
    caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """It may hold the results of all other records; one line days ago is not seen."""
    caplog.set_level(logging.INFO)
    clock = ManualClock()
    waiting = UnavailableServables(clock)

    for _ in range(130):
        waiting.note(ROUTE, "no version")
        clock.advance(1)

    first, *others = caplog.records
    assert (first.levelname, first.message) == ("INFO", "servable_unavailable")
    told = [(one.levelname, one.message, vars(one)["fields"]["seconds"]) for one in others]
    assert told == [("WARNING", "servable_still_unavailable", seconds) for seconds in (60, 120)]
    assert logged("servable_still_unavailable")[0] == {
        "servable": "digits",
        "problem": "no version",
        "seconds": 60,
    }


def test_another_problem_is_told_of_too(caplog: pytest.LogCaptureFixture) -> None:
    """It asks for something else to be done."""
    caplog.set_level(logging.INFO)
    waiting = UnavailableServables()

    waiting.note(ROUTE, "no version")
    waiting.note(ROUTE, "version 2 failed to load")
    waiting.forget()

    assert not waiting
    assert [record.message for record in caplog.records] == ["servable_unavailable"] * 2


def test_a_servable_that_does_not_answer_is_a_problem_after_some_time() -> None:
    """One call that fails is none, however long the next one takes."""
    clock = ManualClock()
    waiting = UnavailableServables(clock)

    waiting.note(ROUTE, "refused", is_loaded=True)
    clock.advance(60)
    assert waiting.problems() == []
    waiting.clear(ROUTE)

    waiting.note(ROUTE, "refused", is_loaded=True)
    clock.advance(9)
    waiting.note(ROUTE, "refused", is_loaded=True)
    assert waiting.problems() == []
    clock.advance(1)
    waiting.note(ROUTE, "no route", is_loaded=True)
    assert waiting.problems() == ["servable 'digits' does not answer: no route"]

    waiting.clear(ROUTE)
    assert waiting.problems() == []


def test_a_wait_for_a_version_is_not_one_for_an_answer() -> None:
    """Records may name a version that never comes: they must not make a worker unready."""
    clock = ManualClock()
    waiting = UnavailableServables(clock)

    for _ in range(3):
        waiting.note(ROUTE, "no version 99")
        clock.advance(20)
    waiting.note(ROUTE, "refused", is_loaded=True)

    assert waiting.problems() == []


def test_a_servable_is_named_once() -> None:
    """Whatever versions and signatures of it wait."""
    clock = ManualClock()
    waiting = UnavailableServables(clock)

    for _ in range(2):
        for signature in ("b", "a"):
            waiting.note(Route("words", 1, None, signature), "refused", is_loaded=True)
        waiting.note(ROUTE, "refused", is_loaded=True)
        clock.advance(10)

    assert waiting.problems() == [
        "servable 'digits' does not answer: refused",
        "servable 'words' does not answer: refused",
    ]
