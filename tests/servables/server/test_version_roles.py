"""The default, labels and reserved versions, on a running core."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servables.core import Core, a_config, put_version
from tests.support.servables.lifecycle import Gate
from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.server.servable_config import VersionPolicy, VersionPolicyKind
from topicserve.servables.server.server_core import ServerCore
from topicserve.servables.server.swap_guard import GuardLimits, SwapGuard

S = ManagerState
DEFAULT, LATEST = ServableRequest.default("table"), ServableRequest.latest("table")
STABLE = ServableRequest.labelled("table", "stable")
ONE_AND_TWO = VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(1, 2))


class World:
    """One table's core; versions are written, and waited for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.running: Core

    def start(
        self,
        *versions: int,
        gate: Gate | None = None,
        guard: SwapGuard | None = None,
        **changes: Any,
    ) -> None:
        """Serve these versions; `gate` holds up the load of version 6."""
        for version in versions:
            put_version(self.path, version)

        def hold(servable_id: Any) -> None:
            if gate is not None and servable_id.version == 6:
                gate()

        config = a_config("table", self.path, **changes)
        self.running = Core([config], max_num_load_retries=0, pre_load_hook=hold, guard=guard)
        self.running.start()

    def reload(self, **changes: Any) -> None:
        self.running.core.reload([a_config("table", self.path, **changes)])

    def wait_for(self, version: int, state: ManagerState = S.AVAILABLE) -> None:
        self.running.wait_for("table", version, state)

    def answers(self, *requests: ServableRequest) -> list[int]:
        return [self.running.found(request) for request in requests]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a world; its core is closed when the test is over."""
    made = World(tmp_path)
    yield made
    made.running.close()


def test_a_labelled_version_does_not_replace_the_latest_while_its_successor_loads(
    world: World,
) -> None:
    """Version 1 is kept for its label; version 2 answers until version 6 does."""
    gate = Gate()
    world.start(1, 2, gate=gate, version_labels={"stable": 1})
    world.wait_for(1)
    world.wait_for(2)

    put_version(world.path, 6)
    gate.wait_until_entered()
    meanwhile = world.answers(LATEST, DEFAULT, STABLE)
    gate.open()
    world.wait_for(2, S.END)

    assert meanwhile == [2, 2, 1]
    assert world.answers(LATEST, DEFAULT, STABLE) == [6, 6, 1]


def test_a_broken_successor_leaves_the_latest_serving_beside_a_labelled_version(
    world: World,
) -> None:
    """A version after it takes over."""
    world.start(1, 2, version_labels={"stable": 1})
    world.wait_for(1)
    world.wait_for(2)

    put_version(world.path, 6, "no comma\n")
    world.wait_for(6, S.END)
    broken = world.answers(LATEST, DEFAULT, STABLE)
    put_version(world.path, 7)
    world.wait_for(2, S.END)

    assert broken == [2, 2, 1]
    assert world.answers(LATEST, DEFAULT, STABLE) == [7, 7, 1]


@pytest.mark.parametrize(
    ("changes", "default"),
    [
        ({}, 2),
        ({"default_version": 1}, 1),
        ({"version_labels": {"stable": 1}, "default_label": "stable"}, 1),
        ({"reserved_versions": (2,)}, 1),
        ({"version_labels": {"next": 2}, "reserved_labels": ("next",)}, 1),
        ({"reserved_versions": (1,)}, 2),
        ({"reserved_versions": (2,), "default_version": 2}, 2),
    ],
)
@pytest.mark.parametrize("policy", [ONE_AND_TWO, VersionPolicy()])
def test_the_default_is_the_latest_unless_it_is_configured_or_set_apart(
    world: World, changes: dict[str, Any], default: int, policy: VersionPolicy
) -> None:
    """Whatever the policy; named versions are loaded. The latest stays TF Serving's."""
    world.start(1, 2, version_policy=policy, **changes)
    world.wait_for(2)
    if default == 1:
        world.wait_for(1)

    assert world.answers(DEFAULT, LATEST) == [default, 2]
    (together,) = world.running.core.get_servable_handles([DEFAULT])
    with together:
        assert together.id.version == default


def test_versions_set_apart_are_not_counted_among_the_latest(world: World) -> None:
    """A new version replaces the default, and the reserved one stays."""
    world.start(1, 2, reserved_versions=(2,))
    world.wait_for(1)
    world.wait_for(2)

    put_version(world.path, 3)
    world.wait_for(1, S.END)

    assert world.answers(DEFAULT, ServableRequest.specific("table", 2)) == [3, 2]


def test_without_a_version_that_may_be_the_default_there_is_none(world: World) -> None:
    """A reserved one never takes its place."""
    world.start(2, reserved_versions=(2,))
    world.wait_for(2)

    with pytest.raises(NotFoundError, match="table, default version"):
        world.running.core.get_servable_handle(DEFAULT)


def test_a_default_label_moves_when_its_version_is_available(world: World) -> None:
    """Forward and back."""
    world.start(1, version_labels={"stable": 1}, default_label="stable")
    world.wait_for(1)

    world.reload(version_labels={"stable": 2}, default_label="stable")
    before = world.answers(DEFAULT)
    put_version(world.path, 2)
    world.wait_for(1, S.END)
    after = world.answers(DEFAULT)
    world.reload(version_labels={"stable": 1}, default_label="stable")
    world.running.wait_until(
        lambda: world.running.states[-1] if world.answers(DEFAULT) == [1] else None
    )

    assert (before, after) == ([1], [2])


def test_a_named_version_stays_when_its_directory_is_removed(world: World) -> None:
    """Nothing else answers its label; taking the label away lets it go."""
    world.start(1, 2, version_labels={"stable": 1})
    world.wait_for(1)
    world.wait_for(2)

    (world.path / "1").rename(world.path / "removed")
    put_version(world.path, 3)
    world.wait_for(2, S.END)
    kept = world.answers(STABLE)
    world.reload()
    world.wait_for(1, S.END)

    assert kept == [1]


@pytest.mark.parametrize(
    "reserved",
    [{"reserved_versions": (2,)}, {"reserved_labels": ("next",), "version_labels": {"next": 2}}],
)
def test_a_version_apart_goes_when_its_directory_is_removed(
    world: World, reserved: dict[str, Any]
) -> None:
    """A bad canary is taken away like this; the default answers its share."""
    world.start(1, 2, **reserved)
    world.wait_for(1)
    world.wait_for(2)

    (world.path / "2").rename(world.path / "removed")
    world.wait_for(2, S.END)

    assert world.answers(DEFAULT) == [1]


def test_a_default_version_stays_when_its_directory_is_removed(world: World) -> None:
    """Nothing else is the default."""
    world.start(1, 2, default_version=1, reserved_versions=(2,))
    world.wait_for(1)
    world.wait_for(2)

    (world.path / "1").rename(world.path / "removed")
    put_version(world.path, 3)
    world.wait_for(3)

    assert world.answers(DEFAULT) == [1]


def swap_to(world: World, version: int) -> None:
    """Write a version and wait until it is the default."""
    put_version(world.path, version)
    world.wait_for(version)
    assert world.answers(DEFAULT) == [version]


def test_the_version_before_is_unloaded_when_the_guard_accepts_the_new_one(world: World) -> None:
    """Not before, and then without anything else happening."""
    guard = SwapGuard(lambda _: GuardLimits())
    world.start(1, guard=guard)
    world.wait_for(1)
    swap_to(world, 2)
    guard.observe("table", 2, 99, 0)
    before = world.answers(ServableRequest.specific("table", 1))

    guard.observe("table", 2, 1, 0)

    world.wait_for(1, S.END)
    assert (before, world.answers(DEFAULT)) == ([1], [2])


def test_a_rejected_version_is_listed_with_its_reason_until_it_is_unloaded(world: World) -> None:
    """It answers requests that name it; a new version takes over from the one before."""
    guard = SwapGuard(lambda _: GuardLimits())
    world.start(1, guard=guard)
    world.wait_for(1)
    swap_to(world, 2)

    guard.observe("table", 2, 0, 10)
    rejected = world.answers(DEFAULT, LATEST, ServableRequest.specific("table", 2))
    (for_a_step,) = world.running.core.get_servable_handles([LATEST])
    with for_a_step:
        assert for_a_step.id.version == 1, "a pipeline goes back too"
    statuses = world.running.core.model_status("table")["model_version_status"]
    default = world.running.core.default_version("table")
    swap_to(world, 3)
    guard.observe("table", 3, 100, 0)

    for version in (1, 2):
        world.wait_for(version, S.END)
    assert (rejected, default) == ([1, 2, 2], 1)
    assert [(one["version"], one["state"]) for one in statuses] == [
        ("2", "AVAILABLE"),
        ("1", "AVAILABLE"),
    ]
    assert statuses[0]["status"]["error_code"] == "FAILED_PRECONDITION"
    assert statuses[0]["status"]["error_message"].endswith("version 1 took over again")
    assert "failed on 10 of 10 records" in statuses[0]["status"]["error_message"]
    assert statuses[1]["status"] == {"error_code": "OK", "error_message": ""}


@pytest.mark.parametrize("key", ["default_label", "reserved_labels"])
def test_a_label_that_is_not_there_is_refused(key: str) -> None:
    """The message names it."""
    value: Any = "stable" if key == "default_label" else ("stable",)
    with pytest.raises(InvalidArgumentError, match="table: label 'stable'"):
        ServerCore([a_config("table", Path("/a"), **{key: value})])
