import pytest

from tests.support.servables.lifecycle import LIMIT_SECONDS, run_in_thread
from tests.support.servables.streams import Heard, a_path
from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnknownError,
)
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.source import connect_source_to_target
from topicserve.servables.core.source_adapter import ErrorInjectingSourceAdapter, UnarySourceAdapter
from topicserve.servables.core.storage_path import StoragePath


class Suffixing(UnarySourceAdapter[StoragePath, StoragePath]):
    """Appends to paths; does not like some."""

    def convert(self, data: ServableData[StoragePath]) -> StoragePath:
        if data.payload == "invalid":
            raise InvalidArgumentError("invalid path")
        if data.payload == "odd":
            raise KeyError("odd")
        return StoragePath(f"{data.payload}/baz")


def test_one_version_can_be_adapted_directly() -> None:
    """Its id stays."""
    assert Suffixing().adapt_one_version(a_path("foo", 4, "bar")) == a_path("foo", 4, "bar/baz")


def test_what_comes_in_waits_for_a_target() -> None:
    """And is delivered when one is connected."""
    adapter, target = Suffixing(), Heard[StoragePath]()
    caller = run_in_thread(
        lambda: adapter.get_aspired_versions_callback()("foo", [a_path("foo", 0, "bar")])
    )

    connect_source_to_target(adapter, target)
    caller.join(LIMIT_SECONDS)

    assert not caller.is_alive()
    assert target.calls == [("foo", [a_path("foo", 0, "bar/baz")])]


def test_detaching_ends_the_wait_for_a_target() -> None:
    """What waited goes nowhere, and no one hangs."""
    adapter = Suffixing()
    caller = run_in_thread(lambda: adapter.get_aspired_versions_callback()("foo", []))

    adapter.detach()
    caller.join(LIMIT_SECONDS)

    assert not caller.is_alive()


def test_a_source_has_one_target() -> None:
    """A second one is refused."""
    adapter = Suffixing()
    connect_source_to_target(adapter, Heard[StoragePath]())

    with pytest.raises(FailedPreconditionError, match="one target only"):
        connect_source_to_target(adapter, Heard[StoragePath]())


def test_a_version_at_fault_touches_no_other() -> None:
    """As many come out as came in, in the same order, each with its own outcome."""
    adapter, target = Suffixing(), Heard[StoragePath]()
    connect_source_to_target(adapter, target)
    error = NotFoundError("gone")

    adapter.set_aspired_versions(
        "foo",
        [
            a_path("foo", 0, "bar"),
            a_path("foo", 1, "invalid"),
            ServableData.failed(ServableId("foo", 2), error),
            a_path("foo", 3, "odd"),
        ],
    )

    ((name, versions),) = target.calls
    assert name == "foo"
    assert versions == [
        a_path("foo", 0, "bar/baz"),
        ServableData.failed(ServableId("foo", 1), InvalidArgumentError("invalid path")),
        ServableData.failed(ServableId("foo", 2), error),
        ServableData.failed(ServableId("foo", 3), UnknownError("KeyError: 'odd'")),
    ]


def test_an_error_is_injected_into_what_has_none() -> None:
    """What failed before keeps its own."""
    injected, own = InvalidArgumentError("no kind"), NotFoundError("gone")
    adapter = ErrorInjectingSourceAdapter[StoragePath, StoragePath](injected)
    target = Heard[StoragePath]()
    connect_source_to_target(adapter, target)

    adapter.set_aspired_versions(
        "foo", [a_path("foo", 0, "bar"), ServableData.failed(ServableId("foo", 1), own)]
    )

    ((_, versions),) = target.calls
    assert [one.error for one in versions] == [injected, own]
