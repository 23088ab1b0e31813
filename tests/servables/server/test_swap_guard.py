from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.servables.snapshots import STREAM
from tests.support.stages.examples import examples
from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.policies.aspired_version_policy import (
    Action,
    AspiredServableStateSnapshot,
)
from topicserve.servables.core.policies.availability_preserving_policy import (
    availability_preserving_policy,
)
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.server.servable_config import ServableConfig
from topicserve.servables.server.swap_guard import GuardLimits, Probation, SwapGuard, Verdict
from topicserve.servables.server.version_labels import VersionLabels
from topicserve.servables.server.version_roles import VersionRoles

READY = HarnessState.READY


class Stream:
    """The versions of one stream under the policy, the roles and a guard."""

    def __init__(self, **limits: Any) -> None:
        self.heard: list[Probation] = []
        self.changes = 0
        self.guard = SwapGuard(lambda _: GuardLimits(**limits), self.heard.append)
        self.guard.on_change(self._count)
        self.loaded: set[int] = set()
        self.aspired: set[int] = set()
        labels = VersionLabels(lambda one: one.version in self.loaded, strict=False)
        labels.set({STREAM: {}})
        self.roles = VersionRoles(labels, lambda _: sorted(self.loaded), self.guard)
        self.config = ServableConfig(STREAM, "/")
        self.roles.set({STREAM: self.config})

    @property
    def default(self) -> int | None:
        return self.roles.default(STREAM).version if self.loaded else None

    def swap(self, *aspired: int) -> None:
        """Aspire these versions and load them; the policy lets go of what it may."""
        self.aspired = set(aspired)
        self.loaded |= self.aspired
        self.settle()

    def settle(self) -> None:
        """Do what the policy says, until it has nothing more to say."""
        while True:
            roles = self.roles.of(STREAM)
            action = availability_preserving_policy(
                [
                    AspiredServableStateSnapshot(
                        ServableId(STREAM, v), READY, v in self.aspired, v in roles.named
                    )
                    for v in sorted(self.loaded)
                ]
            )
            if action is None:
                return
            assert action.action is Action.UNLOAD
            self.loaded.remove(action.id.version)

    def observe(self, answered: int, failed: int) -> None:
        version = self.default
        assert version is not None
        self.guard.observe(STREAM, version, answered, failed)
        self.settle()

    def _count(self) -> None:
        self.changes += 1


def test_the_version_before_stays_loaded_until_the_new_one_has_proven_itself() -> None:
    """Then it goes, and nothing else is kept."""
    stream = Stream(records=100)
    stream.swap(1)
    stream.swap(2)
    on_probation = set(stream.loaded)

    stream.observe(99, 0)
    still = set(stream.loaded)
    stream.observe(1, 0)

    assert (on_probation, still, stream.loaded) == ({1, 2}, {1, 2}, {2})
    assert [one.verdict for one in stream.heard] == [Verdict.STARTED, Verdict.ACCEPTED]
    assert stream.heard[-1] == Probation(STREAM, 2, 1, Verdict.ACCEPTED, 100, 0)
    assert stream.changes == 1


def test_a_new_version_that_fails_on_too_much_is_rejected() -> None:
    """The one before is the default again; the rejected one stays, with its reason."""
    stream = Stream(share=0.5, records=100)
    stream.swap(1)
    stream.swap(2)

    stream.observe(8, 8)
    undecided = stream.default
    stream.observe(0, 1)

    assert (undecided, stream.default) == (2, 1)
    assert stream.loaded == {1, 2}
    assert stream.guard.rejections(STREAM) == {
        2: "rejected after the swap: it failed on 9 of 17 records that it or version 1 answered; "
        "version 1 took over again"
    }
    assert stream.heard[-1] == Probation(STREAM, 2, 1, Verdict.REJECTED, 17, 9)


def test_a_few_records_decide_nothing() -> None:
    """The first one may fail by chance."""
    stream = Stream()
    stream.swap(1)
    stream.swap(2)

    for _ in range(9):
        stream.observe(0, 1)
        assert stream.default == 2
    stream.observe(0, 1)

    assert stream.default == 1


def test_a_newer_version_gets_a_probation_of_its_own() -> None:
    """After a rejection and in the middle of one, beside the last version that was proven."""
    stream = Stream()
    stream.swap(1)
    stream.swap(2)
    stream.observe(0, 10)
    stream.swap(3)
    after_rejection = set(stream.loaded)
    stream.observe(5, 0)

    stream.swap(4)
    in_between = set(stream.loaded)
    stream.observe(0, 10)

    assert (after_rejection, in_between) == ({1, 3}, {1, 4})
    assert stream.default == 1
    assert list(stream.guard.rejections(STREAM)) == [4]


def test_a_rollback_ends_the_probation_and_forgets_the_rejection() -> None:
    """A version of that number that comes back is a new one; until then the reason is told."""
    stream = Stream()
    stream.swap(1)
    stream.swap(2)
    stream.observe(0, 10)

    stream.swap(1)
    rolled_back = (set(stream.loaded), stream.guard.rejections(STREAM))
    reasons_before = stream.guard.reasons(STREAM)
    stream.swap(2)

    reasons_after = stream.guard.reasons(STREAM)

    assert rolled_back == ({1}, {})
    assert list(reasons_before) == [2]
    assert reasons_after == {}
    assert stream.default == 2
    assert stream.loaded == {1, 2}


def test_a_lower_version_is_the_operators_choice() -> None:
    """It is the default at once, without a probation; the higher one goes."""
    stream = Stream()
    stream.swap(2)

    stream.swap(1)

    assert stream.loaded == {1}
    assert stream.heard == []


def test_a_changed_configuration_begins_again() -> None:
    """Then the newest version is the default again."""
    stream = Stream()
    stream.swap(1)
    stream.swap(2)
    stream.observe(0, 10)

    stream.roles.set({STREAM: replace(stream.config, options={"a": 1})})
    stream.settle()

    assert stream.default == 2
    assert stream.loaded == {2}


def test_the_guard_can_be_switched_off() -> None:
    """Then the version before goes at once, as in TF Serving."""
    stream = Stream(records=0)
    stream.swap(1)

    stream.swap(2)

    assert stream.loaded == {2}
    assert stream.heard == []


def test_a_version_without_one_before_is_not_on_probation() -> None:
    """A worker that starts with it has nothing to go back to."""
    stream = Stream()
    stream.swap(2)

    stream.observe(0, 50)

    assert stream.default == 2
    assert stream.guard.predecessor(STREAM, 2) is None


def test_a_label_that_moves_to_a_rejected_version_goes_to_the_one_before() -> None:
    """Until that one is gone too."""
    guard = SwapGuard(lambda _: GuardLimits())
    available = [1, 2]
    assert guard.choose("s", lambda: available, lambda _: [1]) == 1
    assert guard.choose("s", lambda: available, lambda _: [2]) == 2
    guard.observe("s", 2, 0, 10)

    assert guard.choose("s", lambda: available, lambda _: [2]) == 1
    assert guard.choose("s", lambda: [2], lambda _: [2]) == 2


@pytest.mark.parametrize("order", [[], [7]])
def test_a_version_that_is_not_available_is_waited_for(order: Sequence[int]) -> None:
    """It is named all the same, and nothing is kept for it."""
    guard = SwapGuard(lambda _: GuardLimits())

    assert guard.choose("s", lambda: [1], lambda _: order) == (order[0] if order else None)
    assert guard.kept("s") == frozenset()


STEPS = st.one_of(
    st.tuples(st.just("swap"), st.sets(st.integers(1, 5), min_size=1, max_size=2)),
    st.tuples(st.just("observe"), st.tuples(st.integers(0, 12), st.integers(0, 12))),
)


@settings(max_examples=examples(300))
@given(st.lists(STEPS, max_size=15), st.integers(0, 20))
def test_whatever_happens_there_is_a_default_and_nothing_leaks(
    steps: list[tuple[str, Any]], records: int
) -> None:
    """Beside the aspired versions, one predecessor is kept at most, and only while it serves."""
    stream = Stream(records=records)
    for kind, value in steps:
        if kind == "swap":
            stream.swap(*value)
        elif stream.loaded:
            stream.observe(*value)
        default = stream.default
        if not stream.loaded:
            continue
        kept = stream.guard.kept(STREAM)
        assert default in stream.loaded
        assert kept <= stream.loaded
        assert stream.loaded <= stream.aspired | kept
        if kept:
            assert stream.guard.rejections(STREAM) or stream.guard.predecessor(STREAM, default)
    if stream.loaded:
        for _ in range(3):
            stream.observe(20, 0)
        assert stream.loaded == stream.aspired or stream.guard.rejections(STREAM)
