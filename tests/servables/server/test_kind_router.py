import pytest

from tests.support.servables.lifecycle import LIMIT_SECONDS, run_in_thread
from tests.support.servables.streams import Heard, a_path
from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.server.kind_router import KindRouter


def an_adapter(kind: str) -> SimpleLoaderSourceAdapter[str]:
    """Return an adapter whose servables name their kind."""
    return SimpleLoaderSourceAdapter(lambda _: kind)


class Routed:
    """A router and the target behind it."""

    def __init__(self) -> None:
        self.target = Heard[Loader]()
        self.router = KindRouter(self.target)

    def kind_of(self, name: str) -> object:
        self.router.get_aspired_versions_callback()(name, [a_path(name, 1, "/p")])
        ((heard, (data,)),) = self.target.take()
        assert heard == name
        data.payload.load_with_id(ServableId(name, 1))
        return data.payload.servable


def test_each_servable_goes_through_its_own_adapter() -> None:
    """Several may share one."""
    routed, shared = Routed(), an_adapter("shared")
    routed.router.set_routes({"a": shared, "b": shared, "c": an_adapter("other")})

    assert [routed.kind_of(name) for name in "abc"] == ["shared", "shared", "other"]


def test_a_servable_without_a_route_is_an_error() -> None:
    """Downstream, as data; taking it out goes through."""
    routed = Routed()
    callback = routed.router.get_aspired_versions_callback()

    callback("a", [a_path("a", 1, "/p")])
    callback("a", [])

    (_, (data,)), (_, nothing) = routed.target.take()
    assert isinstance(data.error, FailedPreconditionError)
    assert nothing == []


def test_routes_can_be_replaced() -> None:
    """An adapter that stays is connected once; one that goes is detached."""
    routed, stays, goes = Routed(), an_adapter("stays"), an_adapter("goes")
    routed.router.set_routes({"a": stays, "b": goes})

    routed.router.set_routes({"a": stays, "b": stays})
    goes.get_aspired_versions_callback()("b", [a_path("b", 1, "/p")])

    assert routed.target.calls == []
    assert [routed.kind_of(name) for name in "ab"] == ["stays", "stays"]


def test_an_adapter_that_is_detached_cannot_be_routed_to_again() -> None:
    """It is connected already: a new one is made for new options."""
    routed, adapter = Routed(), an_adapter("once")
    routed.router.set_routes({"a": adapter})
    routed.router.set_routes({})

    with pytest.raises(FailedPreconditionError):
        routed.router.set_routes({"a": adapter})


def test_routes_may_change_while_versions_flow() -> None:
    """No one hangs; what meets an adapter that is going is said again by its source."""
    routed = Routed()
    routed.router.set_routes({"a": an_adapter("first")})
    callback = routed.router.get_aspired_versions_callback()

    def say() -> None:
        for version in range(300):
            callback("a", [a_path("a", version, "/p")])

    speaker = run_in_thread(say)
    for number in range(50):
        routed.router.set_routes({"a": an_adapter(f"adapter {number}")})
    speaker.join(LIMIT_SECONDS)

    assert not speaker.is_alive()
    assert routed.target.calls
