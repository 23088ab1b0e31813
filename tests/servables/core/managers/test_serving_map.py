import pytest

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.managers.serving_map import ServingMap
from topicserve.servables.core.servable_handle import PinnedServable
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest


def pinned(name: str, version: int) -> PinnedServable:
    """Return a loaded version."""
    return PinnedServable(ServableId(name, version), f"{name}-{version}")


def found(serving: ServingMap, request: ServableRequest) -> object:
    """Return the servable that a request finds."""
    one = serving.pin(request)
    one.unpin()
    return one.servable


def test_latest_is_the_highest_and_earliest_the_lowest() -> None:
    """In whatever order they were published; 0 is a version like any other."""
    serving = ServingMap()
    serving.publish([pinned("a", 2), pinned("a", 10), pinned("a", 0), pinned("b", 5)])

    assert found(serving, ServableRequest.latest("a")) == "a-10"
    assert found(serving, ServableRequest.earliest("a")) == "a-0"
    assert found(serving, ServableRequest.specific("a", 2)) == "a-2"
    assert found(serving, ServableRequest.latest("b")) == "b-5"


def test_nothing_else_stands_in_for_what_is_missing() -> None:
    """Neither another version nor another name."""
    serving = ServingMap()
    serving.publish([pinned("a", 1)])

    for request in (
        ServableRequest.specific("a", 2),
        ServableRequest.latest("b"),
        ServableRequest.earliest("b"),
    ):
        with pytest.raises(NotFoundError, match=request.name):
            serving.pin(request)


def test_a_manager_knows_no_labels_and_no_default() -> None:
    """Neither must silently mean the latest version."""
    serving = ServingMap()
    serving.publish([pinned("a", 1)])

    with pytest.raises(InvalidArgumentError, match="label 'stable'"):
        serving.pin(ServableRequest.labelled("a", "stable"))
    with pytest.raises(InvalidArgumentError, match="a, default version"):
        serving.pin(ServableRequest.default("a"))


def test_several_are_pinned_from_one_generation() -> None:
    """When one has been retired meanwhile, all are looked up again."""
    serving = ServingMap()
    new, other = pinned("a", 2), pinned("b", 1)
    requests = [ServableRequest.latest("b"), ServableRequest.latest("a")]

    class Leaving(PinnedServable):
        """Is replaced and retired between the lookup and the pin."""

        def pin(self) -> bool:
            serving.publish([other, new])
            self.retire(lambda: None)
            return super().pin()

    leaving = Leaving(ServableId("a", 1), "a-1")
    serving.publish([other, leaving])

    taken = serving.pin_all(requests)

    assert [one.servable for one in taken] == ["b-1", "a-2"]
    assert (other.open_handles, new.open_handles, leaving.open_handles) == (1, 1, 0)
