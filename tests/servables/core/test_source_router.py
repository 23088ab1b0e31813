from collections.abc import Sequence

import pytest

from tests.support.servables.lifecycle import LIMIT_SECONDS, run_in_thread
from tests.support.servables.streams import Heard, a_path
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.source import connect_source_to_target
from topicserve.servables.core.source_router import (
    DynamicSourceRouter,
    SourceRouter,
    StaticSourceRouter,
)
from topicserve.servables.core.storage_path import StoragePath

Paths = Sequence[ServableData[StoragePath]]


class ByNumber(SourceRouter[StoragePath]):
    """Routes a stream to the port that it is named after; "drop" to none."""

    def route(self, name: str, versions: Paths) -> int | None:  # noqa: ARG002
        return None if name == "drop" else int(name)


def connected(router: SourceRouter[StoragePath]) -> list[Heard[StoragePath]]:
    """Connect a target to every port."""
    targets = [Heard[StoragePath]() for _ in range(router.num_output_ports)]
    for port, target in zip(router.get_output_ports(), targets, strict=True):
        connect_source_to_target(port, target)
    return targets


def heard(targets: list[Heard[StoragePath]]) -> list[list[str]]:
    """Return the streams that each target has heard of since the last time."""
    return [[name for name, _ in target.take()] for target in targets]


def test_each_stream_goes_to_its_port_alone() -> None:
    """With what was said of it."""
    router = ByNumber(2)
    targets = connected(router)

    router.set_aspired_versions("0", [a_path("0", 0, "/zero")])
    router.set_aspired_versions("1", [])

    assert [target.calls for target in targets] == [
        [("0", [a_path("0", 0, "/zero")])],
        [("1", [])],
    ]


def test_one_port_is_enough() -> None:
    """Then it takes everything."""
    router = ByNumber(1)
    (target,) = connected(router)

    router.set_aspired_versions("0", [])

    assert router.num_output_ports == 1
    assert target.calls == [("0", [])]


@pytest.mark.parametrize("connected_before", [0, 1])
def test_what_comes_in_waits_until_all_ports_are_connected(connected_before: int) -> None:
    """Not some of them, even if it goes there."""
    router = ByNumber(2)
    ports, targets = router.get_output_ports(), [Heard[StoragePath]() for _ in range(2)]
    pairs = list(zip(ports, targets, strict=True))
    for port, target in pairs[:connected_before]:
        connect_source_to_target(port, target)
    caller = run_in_thread(lambda: router.get_aspired_versions_callback()("0", []))
    is_waiting = caller.is_alive()

    for port, target in pairs[connected_before:]:
        connect_source_to_target(port, target)
    caller.join(LIMIT_SECONDS)

    assert is_waiting
    assert not caller.is_alive()
    assert targets[0].calls == [("0", [])]


def test_a_call_without_a_route_is_dropped() -> None:
    """Silently; one to a port that is not there with an error in the log."""
    router = ByNumber(2)
    targets = connected(router)

    router.set_aspired_versions("drop", [])
    router.set_aspired_versions("7", [])
    router.set_aspired_versions("-1", [])

    assert heard(targets) == [[], []]


def test_detaching_ends_the_wait_for_connections() -> None:
    """No one hangs."""
    router = ByNumber(2)
    caller = run_in_thread(lambda: router.get_aspired_versions_callback()("0", []))

    router.detach()
    caller.join(LIMIT_SECONDS)

    assert not caller.is_alive()


def test_a_static_router_goes_by_the_first_matching_part() -> None:
    """Also where several match; without a match the last port it is."""
    router = StaticSourceRouter[StoragePath](["foo", "bar"])
    targets = connected(router)

    for name in ("this_is_foo", "bar_it_is", "bar_and_foo", "neither"):
        router.set_aspired_versions(name, [])

    assert heard(targets) == [["this_is_foo", "bar_and_foo"], ["bar_it_is"], ["neither"]]


BAD_ROUTES = [{"a": -1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize("routes", BAD_ROUTES)
def test_a_dynamic_router_refuses_ports_that_are_not_there(routes: dict[str, int]) -> None:
    """The last one too: it is for all other names."""
    with pytest.raises(InvalidArgumentError, match="route of 'a'"):
        DynamicSourceRouter[StoragePath](3, routes)


@pytest.mark.parametrize("routes", BAD_ROUTES)
def test_bad_new_routes_leave_the_old_ones(routes: dict[str, int]) -> None:
    """All of them."""
    router = DynamicSourceRouter[StoragePath](3, {"a": 0, "b": 1})

    with pytest.raises(InvalidArgumentError):
        router.update_routes({"b": 0, **routes})

    assert router.routes == {"a": 0, "b": 1}


def test_a_dynamic_router_goes_by_the_whole_name() -> None:
    """Unknown names go to the last port."""
    router = DynamicSourceRouter[StoragePath](3, {"foo": 0, "bar": 1})
    targets = connected(router)

    for name in ("foo", "bar", "foobar"):
        router.set_aspired_versions(name, [])

    assert heard(targets) == [["foo"], ["bar"], ["foobar"]]


def test_routes_can_be_swapped() -> None:
    """From the next call on."""
    router = DynamicSourceRouter[StoragePath](3, {"foo": 0, "bar": 1})
    targets = connected(router)

    router.update_routes({"foo": 1, "bar": 0})
    router.set_aspired_versions("foo", [])
    router.set_aspired_versions("bar", [])

    assert heard(targets) == [["bar"], ["foo"], []]
