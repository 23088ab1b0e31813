import logging

import pytest

from tests.support.stages.logged import Logged
from topicserve.backends.errors import FencedError
from topicserve.servables.core.errors import DataLossError, as_servable_error
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.worker.service import exit_code_of
from topicserve.worker.telemetry.event_log import log_removed, log_version


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    """Keep events of all levels."""
    caplog.set_level(logging.DEBUG, "topicserve")


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, object]]]:
    """Return the events and their fields."""
    return [(record.msg, record.__dict__["fields"]) for record in caplog.records]


def test_versions_are_told_with_their_servable(caplog: pytest.LogCaptureFixture) -> None:
    """Available, unloaded and failed; what is on its way is not."""
    this = ServableId("digits", 3)
    for state in (
        ServableState(this, ManagerState.START),
        ServableState(this, ManagerState.LOADING),
        ServableState(this, ManagerState.AVAILABLE, seconds=1.25),
        ServableState(this, ManagerState.UNLOADING),
        ServableState(this, ManagerState.END, seconds=0.5),
        ServableState(this, ManagerState.END, DataLossError("cut short")),
    ):
        log_version(state)

    of = {"servable": "digits", "version": 3}
    assert told(caplog) == [
        ("version_available", {**of, "seconds": 1.25}),
        ("version_unloaded", {**of, "seconds": 0.5}),
        ("version_failed", {**of, "code": "DATA_LOSS", "problem": "cut short"}),
    ]


def test_a_rollback_to_a_version_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """With the version that still answers; a new version that fails blocks no rollback."""
    failed = ServableState(ServableId("digits", 3), ManagerState.END, DataLossError("cut short"))

    for replaced in ([], [1, 2], [1, 4]):
        log_version(failed, replaced)

    blocked = [fields for event, fields in told(caplog) if event == "rollback_blocked"]
    assert blocked == [
        {
            "servable": "digits",
            "version": 4,
            "failed_version": 3,
            "problem": "cut short",
            "remedy": "remove the failed version, too, or correct it",
        }
    ]


def test_a_worker_that_is_fenced_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """In one line: another process has its name."""

    def run() -> None:
        raise FencedError("a newer member")

    assert exit_code_of(run) == 1
    assert told(caplog) == [("worker_fenced", {"problem": "a newer member"})]


@pytest.mark.parametrize("error", [KeyError("a bug"), SystemExit("a bug")])
def test_a_fatal_error_is_told_with_its_traceback(
    error: BaseException, caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """The text alone rarely says where; what would end a thread silently is an error, too."""

    def run() -> None:
        raise error

    assert exit_code_of(run) == 1
    (line,) = caplog.records
    assert line.msg == "worker_failed"
    assert line.exc_info is not None
    assert line.exc_info[2] is not None
    assert exit_code_of(lambda: None) == 0
    assert logged("worker_failed") == [{"problem": f"{type(error).__name__}: {error}"}]


def test_a_loaders_bug_is_told_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """What a loader answers with a status code needs none."""
    failed = ServableId("digits", 3)
    try:
        raise KeyError("a bug")
    except KeyError as bug:
        log_version(ServableState(failed, ManagerState.END, as_servable_error(bug)))
    log_version(ServableState(failed, ManagerState.END, DataLossError("cut short")))

    of_bug, of_answer = caplog.records
    assert of_bug.exc_info is not None
    assert of_bug.exc_info[0] is KeyError
    assert of_bug.exc_info[2] is not None
    assert not of_answer.exc_info


def test_servables_that_are_configured_no_more_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """As a warning: records for them become dead letters from now on."""
    log_removed(["digits", "names"])

    assert told(caplog) == [("servables_removed", {"servables": "digits,names"})]
    assert caplog.records[0].levelname == "WARNING"
