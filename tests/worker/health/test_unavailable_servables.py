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
