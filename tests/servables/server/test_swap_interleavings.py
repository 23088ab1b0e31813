"""Every interleaving of versions that appear, load, fail and are labelled, under the policy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.support.servables.snapshots import STREAM
from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.policies.aspired_version_policy import (
    Action,
    AspiredServableStateSnapshot,
    AspiredVersionPolicy,
    ServableAction,
    load_next,
)
from topicserve.servables.core.policies.availability_preserving_policy import (
    availability_preserving_policy,
)
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.server.servable_config import VersionPolicy, VersionPolicyKind
from topicserve.servables.sources.version_selection import select_versions

VERSIONS = (1, 2, 3)
S = HarnessState
NONE: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Setting:
    """What the operator writes: a policy, a label that may move, a reserved version."""

    policy: VersionPolicy = field(default_factory=VersionPolicy)
    labels: tuple[int, ...] = ()
    """The versions that "stable" is to stand for, one after the other."""
    reserved: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Moment:
    """Everything that decides what can happen next."""

    on_disk: frozenset[int] = frozenset()
    states: tuple[tuple[int, HarnessState], ...] = ()
    label: int | None = None
    changes: int = 0
    """How often the operator has moved the label."""

    def ready(self, *, without: frozenset[int] = frozenset()) -> set[int]:
        return {v for v, state in self.states if state is S.READY and v not in without}

    def having(self, version: int, state: HarnessState | None) -> "Moment":
        states = {**dict(self.states), version: state}
        kept = tuple(sorted((v, s) for v, s in states.items() if s is not None))
        return replace(self, states=kept)


class World:
    """The rules by which a moment becomes the next one."""

    def __init__(self, setting: Setting, policy: AspiredVersionPolicy) -> None:
        self.setting, self.policy = setting, policy

    def start(self) -> Moment:
        return replace(Moment(), label=next(iter(self.setting.labels), None))

    def aspired(self, at: Moment) -> list[int]:
        wanted = self.setting.labels[at.changes : at.changes + 1]
        protected = {*wanted, *self.named(at), *self.setting.reserved}
        return select_versions(
            at.on_disk, self.setting.policy, protected, lambda _: True, self.setting.reserved
        )

    def snapshots(self, at: Moment) -> list[AspiredServableStateSnapshot]:
        aspired, named = self.aspired(at), self.named(at)
        return [
            AspiredServableStateSnapshot(
                ServableId(STREAM, v), state, v in aspired, v in named, v in self.setting.reserved
            )
            for v, state in at.states
        ]

    def named(self, at: Moment) -> set[int]:
        return set() if at.label is None else {at.label}

    def next_moments(self, at: Moment) -> Iterator[Moment]:
        for version in VERSIONS:
            if version not in at.on_disk:
                yield self._settled(replace(at, on_disk=at.on_disk | {version}))
        for version in at.on_disk:
            removed = replace(at, on_disk=at.on_disk - {version})
            if self.aspired(removed):  # a source never says that nothing is wanted any more
                yield self._settled(removed)
        if at.changes + 1 < len(self.setting.labels):
            yield self._settled(replace(at, changes=at.changes + 1))
        wanted = self.setting.labels[at.changes] if self.setting.labels else None
        if wanted != at.label and wanted in at.ready():
            yield self._settled(replace(at, label=wanted))
        for version, state in at.states:
            if state is S.LOADING:
                yield self._settled(at.having(version, S.READY))
                yield self._settled(at.having(version, S.ERROR))
        action = self.policy(self.snapshots(at))
        if action is not None:
            is_load = action.action is Action.LOAD
            yield self._settled(at.having(action.id.version, S.LOADING if is_load else None))

    def _settled(self, at: Moment) -> Moment:
        """Manage aspired versions, and let go of those that are neither aspired nor in use."""
        aspired = self.aspired(at)
        for version in aspired:
            if version not in dict(at.states):
                at = at.having(version, S.NEW)
        for version, state in at.states:
            # A load that is no longer wanted is undone as soon as it ends.
            if version not in aspired and state is not S.READY:
                at = at.having(version, None)
        return at


def explore(world: World) -> Iterator[tuple[Moment, Moment]]:
    """Yield every step from a moment that can be reached to the next one, each once."""
    waiting, known = [world.start()], {world.start()}
    while waiting:
        before = waiting.pop()
        for after in world.next_moments(before):
            yield before, after
            if after not in known:
                known.add(after)
                waiting.append(after)


def faults(setting: Setting, policy: AspiredVersionPolicy) -> set[str]:
    """Return what loses its answer, or gets one from an older version, in any step.

    Older is right where the operator has taken the newer ones away: it is the newest of those that
    are aspired or named then.
    """
    world, found = World(setting, policy), set()
    for before, after in explore(world):
        for name, reserved in (("latest", NONE), ("default", setting.reserved)):
            was = max(before.ready(without=reserved), default=0)
            now = max(after.ready(without=reserved), default=0)
            if now and was in setting.reserved - after.on_disk:
                continue  # taken away: the others answer for it
            wanted = {*world.aspired(after), *(world.named(after) & after.ready())}
            if now < was and (now == 0 or now != max(wanted - reserved)):
                found.add(name)
        if before.label in before.ready() and after.label not in after.ready():
            found.add("label")
    return found


SETTINGS = {
    "latest": Setting(),
    "two latest": Setting(VersionPolicy(num_versions=2)),
    "all": Setting(VersionPolicy(VersionPolicyKind.ALL)),
    "listed": Setting(VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(1, 3))),
    "a label": Setting(labels=(1,)),
    "a label that moves up": Setting(labels=(1, 2, 3)),
    "a label that moves down": Setting(labels=(3, 1, 2)),
    "two latest and a label": Setting(VersionPolicy(num_versions=2), labels=(1, 3)),
    "a version reserved": Setting(reserved=frozenset({2})),
    "the highest reserved": Setting(reserved=frozenset({3})),
    "a label and a version reserved": Setting(labels=(1, 3), reserved=frozenset({2})),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_no_answer_is_lost_and_none_goes_back_to_an_older_version(name: str) -> None:
    """From the moment that it is there: of the latest, the default and the label, in any order."""
    assert not faults(SETTINGS[name], availability_preserving_policy)


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_stays_loaded_that_answers_nothing(name: str) -> None:
    """Once the policy has nothing more to do: no swap leaks a version."""
    setting = SETTINGS[name]
    world = World(setting, availability_preserving_policy)
    for at in {after for _, after in explore(world)}:
        if availability_preserving_policy(world.snapshots(at)) is not None:
            continue
        highest = [
            max(at.ready(without=reserved), default=0) for reserved in (NONE, setting.reserved)
        ]
        assert at.ready() <= {*world.aspired(at), *highest, *world.named(at)}


@pytest.mark.parametrize("name", [name for name in SETTINGS if SETTINGS[name].reserved])
def test_a_version_apart_goes_with_its_directory(name: str) -> None:
    """At once where another version is there, whatever else loads or fails meanwhile."""
    world = World(SETTINGS[name], availability_preserving_policy)
    seen = 0
    for at in {after for _, after in explore(world)}:
        removed = (SETTINGS[name].reserved & at.ready()) - {*world.aspired(at), *world.named(at)}
        if removed and at.ready() != removed:
            seen += 1
            action = availability_preserving_policy(world.snapshots(at))
            assert action is not None
            assert action.action is Action.UNLOAD
    assert seen


def test_the_exploration_finds_what_tf_servings_rule_loses() -> None:
    """There, any aspired version that is ready lets the old one go, also one kept for its label."""

    def upstream(versions: Sequence[AspiredServableStateSnapshot]) -> ServableAction | None:
        old = sorted(one.id for one in versions if one.state is S.READY and not one.is_aspired)
        aspired = [one for one in versions if one.is_aspired]
        if old and (not aspired or len(old) > 1 or any(one.state is S.READY for one in aspired)):
            return ServableAction(Action.UNLOAD, old[0])
        return load_next(versions)

    assert faults(SETTINGS["a label"], upstream) == {"latest", "default", "label"}
    assert len(list(explore(World(SETTINGS["a label"], upstream)))) > 500
