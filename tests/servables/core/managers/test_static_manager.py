import pytest

from topicserve.servables.core.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from topicserve.servables.core.managers.static_manager import StaticManager, StaticManagerBuilder
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest

ID = ServableId("name", 42)


def built(*servables: tuple[ServableId, object]) -> StaticManager:
    """Return a manager of these."""
    builder = StaticManagerBuilder()
    for servable_id, servable in servables:
        builder.add_servable(servable_id, servable)
    return builder.build()


def test_what_was_added_is_found() -> None:
    """And listed."""
    manager = built((ID, "servable"))

    with manager.get_servable_handle(ServableRequest.from_id(ID), str) as handle:
        assert handle.servable == "servable"
    assert manager.list_available_servable_ids() == [ID]


def test_a_builder_builds_once() -> None:
    """After that it takes and gives nothing."""
    builder = StaticManagerBuilder()
    builder.build()

    with pytest.raises(FailedPreconditionError, match="has been built"):
        builder.build()
    with pytest.raises(FailedPreconditionError, match="has been built"):
        builder.add_servable(ID, "late")


def test_nothing_and_the_same_twice_are_refused() -> None:
    """None is no servable, and an id has one."""
    builder = StaticManagerBuilder()
    builder.add_servable(ID, "servable")

    with pytest.raises(InvalidArgumentError):
        builder.add_servable(ServableId("name", 1), None)
    with pytest.raises(AlreadyExistsError):
        builder.add_servable(ID, "other")


def test_latest_is_the_highest_added() -> None:
    """In whatever order."""
    manager = built(*((ServableId("name", version), version) for version in (3, 24, 1)))

    with manager.get_servable_handle(ServableRequest.latest("name")) as handle:
        assert (handle.servable, handle.id) == (24, ServableId("name", 24))


def test_a_specific_version_is_found_by_its_id() -> None:
    """Not another one."""
    manager = built(*((ServableId("name", version), version) for version in (3, 24, 1)))

    with manager.get_servable_handle(ServableRequest.specific("name", 3)) as handle:
        assert (handle.servable, handle.id) == (3, ServableId("name", 3))


def test_an_unknown_servable_is_not_found() -> None:
    """An empty manager has none."""
    with pytest.raises(NotFoundError):
        built().get_servable_handle(ServableRequest.latest("name"))


def test_a_missing_version_is_not_found() -> None:
    """Another one does not stand in."""
    with pytest.raises(NotFoundError):
        built((ID, "servable")).get_servable_handle(ServableRequest.specific("name", 1))


def test_several_come_together() -> None:
    """As from any manager."""
    manager = built((ID, "servable"), (ServableId("other", 1), "too"))

    handles = manager.get_servable_handles(
        [ServableRequest.latest("other"), ServableRequest.latest("name")]
    )

    assert [handle.servable for handle in handles] == ["too", "servable"]
    for handle in handles:
        handle.close()
