import gc
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.servables.lifecycle import LIMIT_SECONDS, run_in_thread
from topicserve.servables.core.manager import Manager
from topicserve.servables.core.managers.static_manager import StaticManagerBuilder
from topicserve.servables.core.servable_handle import PinnedServable
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest

ID = ServableId("a", 1)
LATEST = ServableRequest.latest("a")


def a_manager() -> Manager:
    """Return one that serves version 1 of "a"."""
    builder = StaticManagerBuilder()
    builder.add_servable(ID, "one")
    return builder.build()


def test_handles_on_the_same_version_are_equal() -> None:
    """And not to one on another version."""
    builder = StaticManagerBuilder()
    builder.add_servable(ServableId("a", 1), "one")
    builder.add_servable(ServableId("a", 2), "two")
    manager = builder.build()

    with (
        manager.get_servable_handle(LATEST) as first,
        manager.get_servable_handle(LATEST) as second,
        manager.get_servable_handle(ServableRequest.specific("a", 1)) as other,
    ):
        assert first == second
        assert hash(first) == hash(second)
        assert first != other
        assert first.servable == "two"


def test_a_handle_says_which_version_it_is_on() -> None:
    """Also where the latest was asked for."""
    with a_manager().get_servable_handle(LATEST) as handle:
        assert handle.id == ID


def test_a_closed_handle_has_no_servable() -> None:
    """A variable that outlives the batch keeps no model in memory; closing twice is fine."""
    handle = a_manager().get_servable_handle(LATEST)

    handle.close()
    handle.close()

    with pytest.raises(AttributeError):
        _ = handle.servable
    assert repr(handle) == f"ServableHandle({ID}, closed)"


def test_a_handle_that_is_dropped_open_is_reported_and_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The report names the version, the line that took it and who called that."""
    pinned = PinnedServable(ID, "one")

    class OneServable(Manager):
        def list_available_servable_ids(self) -> list[ServableId]:
            return [ID]

        def pin_servable(self, request: ServableRequest) -> PinnedServable:  # noqa: ARG002
            assert pinned.pin()
            return pinned

        def pin_servables(self, requests: object) -> list[PinnedServable]:  # noqa: ARG002
            return []

    def forgetful() -> None:
        OneServable().get_servable_handle(LATEST)

    with caplog.at_level(logging.WARNING):
        forgetful()
        gc.collect()

    assert "version: 1" in caplog.text
    assert "dropped without close()" in caplog.text
    line = forgetful.__code__.co_firstlineno + 1
    assert f"{__file__}:{line} in forgetful, called from {__file__}" in caplog.text
    assert pinned.open_handles == 0


def test_a_handle_that_is_closed_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    """No false alarm."""
    with a_manager().get_servable_handle(LATEST):
        pass
    gc.collect()

    assert [record for record in caplog.records if "servables" in record.name] == []


def test_a_retired_version_is_drained_by_its_last_handle() -> None:
    """Not before, only once, and it is pinned no more."""
    pinned = PinnedServable(ID, "one")
    drained: list[str] = []
    assert pinned.pin()
    assert pinned.pin()

    pinned.retire(lambda: drained.append("now"))

    assert not pinned.pin()
    pinned.unpin()
    assert drained == []
    pinned.unpin()
    assert drained == ["now"]
    assert not pinned.pin()
    assert drained == ["now"]


def test_a_version_without_handles_is_drained_at_once() -> None:
    """No one has to come by for that."""
    drained: list[str] = []

    PinnedServable(ID, "one").retire(lambda: drained.append("now"))

    assert drained == ["now"]


@given(st.lists(st.sampled_from(["pin", "unpin", "retire"])))
def test_no_order_of_calls_drains_a_pinned_version(calls: list[str]) -> None:
    """Drained means retired and not pinned, and is said exactly once."""
    pinned, held, retired = PinnedServable(ID, "one"), 0, False
    drained: list[int] = []

    for call in calls:
        if call == "pin":
            assert pinned.pin() is not retired
            held += not retired
        elif call == "unpin" and held:
            pinned.unpin()
            held -= 1
        elif call == "retire" and not retired:
            retired = True
            pinned.retire(lambda: drained.append(pinned.open_handles))
        assert pinned.open_handles == held
        assert len(drained) <= 1
        assert not (retired and held == 0) or drained == [0]


def test_threads_that_race_with_retirement_never_hold_a_drained_version() -> None:
    """Either a thread has a pin and the version waits, or it is sent away."""
    for _ in range(200):
        pinned, drained = PinnedServable(ID, "one"), threading.Event()
        start = threading.Barrier(3)
        wrong: list[str] = []

        def use(
            pinned: PinnedServable = pinned,
            drained: threading.Event = drained,
            start: threading.Barrier = start,
            wrong: list[str] = wrong,
        ) -> None:
            start.wait(LIMIT_SECONDS)
            while pinned.pin():
                if drained.is_set():
                    wrong.append("pinned and drained")
                pinned.unpin()

        users = [run_in_thread(use) for _ in range(2)]
        start.wait(LIMIT_SECONDS)
        pinned.retire(drained.set)
        for user in users:
            user.join(LIMIT_SECONDS)

        assert drained.is_set()
        assert wrong == []
        assert pinned.open_handles == 0
