from collections.abc import Sequence

import pytest

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError, UnavailableError
from topicserve.servables.core.manager import Manager
from topicserve.servables.core.managers.serving_map import ServingMap
from topicserve.servables.core.servable_handle import PinnedServable
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest

ONE, TWO = ServableId("a", 1), ServableId("b", 2)


class TwoServables(Manager):
    """A string and a number."""

    def __init__(self) -> None:
        self.pinned = [PinnedServable(ONE, "text"), PinnedServable(TWO, 2)]
        self._serving = ServingMap()
        self._serving.publish(self.pinned)
        self.listed = [ONE, TWO]

    def list_available_servable_ids(self) -> list[ServableId]:
        return self.listed

    def pin_servable(self, request: ServableRequest) -> PinnedServable:
        if request.name == "broken":
            raise UnavailableError("not now")
        return self._serving.pin(request)

    def pin_servables(self, requests: Sequence[ServableRequest]) -> list[PinnedServable]:
        return self._serving.pin_all(requests)


def test_a_handle_of_the_right_type_is_given_out() -> None:
    """The servable is there."""
    with TwoServables().get_servable_handle(ServableRequest.latest("a"), str) as handle:
        assert handle.servable.upper() == "TEXT"


def test_a_servable_of_another_type_is_refused() -> None:
    """The error names both types, and nothing stays pinned."""
    manager = TwoServables()

    with pytest.raises(InvalidArgumentError, match="is a str, not the int"):
        manager.get_servable_handle(ServableRequest.latest("a"), int)

    assert manager.pinned[0].open_handles == 0


def test_what_the_lookup_raises_comes_through() -> None:
    """No handle comes of it."""
    with pytest.raises(UnavailableError, match="not now"):
        TwoServables().get_servable_handle(ServableRequest.latest("broken"))


def test_available_handles_are_those_of_the_type() -> None:
    """A map from ids to handles that can be used."""
    handles = TwoServables().get_available_servable_handles(str)

    assert {one: handle.servable for one, handle in handles.items()} == {ONE: "text"}
    for handle in handles.values():
        handle.close()


def test_no_servable_of_the_type_gives_an_empty_map() -> None:
    """And pins nothing."""
    manager = TwoServables()

    assert manager.get_available_servable_handles(bytes) == {}
    assert [one.open_handles for one in manager.pinned] == [0, 0]


def test_what_has_gone_since_it_was_listed_is_left_out() -> None:
    """The list and the lookups are not one moment."""
    manager = TwoServables()
    manager.listed.append(ServableId("gone", 1))

    handles = manager.get_available_servable_handles(int)

    assert list(handles) == [TWO]
    handles[TWO].close()


def test_several_handles_come_together_or_not_at_all() -> None:
    """One that is missing leaves none pinned."""
    manager = TwoServables()
    both = [ServableRequest.latest("a"), ServableRequest.latest("b")]

    handles = manager.get_servable_handles(both)
    with pytest.raises(NotFoundError, match="c, latest version"):
        manager.get_servable_handles([*both, ServableRequest.latest("c")])

    assert [handle.servable for handle in handles] == ["text", 2]
    assert [one.open_handles for one in manager.pinned] == [1, 1]
    for handle in handles:
        handle.close()
