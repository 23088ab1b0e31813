from tests.support.servables.lifecycle import LIMIT_SECONDS, Gate, run_in_thread
from tests.support.servables.streams import Heard, Saying, a_path
from topicserve.servables.core.source import connect_source_to_target
from topicserve.servables.core.storage_path import StoragePath


def test_a_target_hears_the_source_that_it_is_connected_to() -> None:
    """Each call about one stream."""
    source, target = Saying[StoragePath](), Heard[StoragePath]()
    connect_source_to_target(source, target)

    source.say("a", [a_path("a", 1, "/a/1")])
    source.say("b", [])

    assert target.calls == [("a", [a_path("a", 1, "/a/1")]), ("b", [])]


def test_a_detached_target_hears_nothing_any_more() -> None:
    """Its callback may still be called."""
    target = Heard[StoragePath]()
    callback = target.get_aspired_versions_callback()

    target.detach()
    callback("a", [])

    assert target.calls == []


def test_detaching_waits_for_the_call_under_way() -> None:
    """When it returns, nothing is being heard any more."""
    gate, order = Gate(), []

    class Slow(Heard[StoragePath]):
        def set_aspired_versions(self, name: str, versions: object) -> None:  # noqa: ARG002
            gate()
            order.append("call done")

    def detach() -> None:
        target.detach()
        order.append("detached")

    target = Slow()
    caller = run_in_thread(lambda: target.get_aspired_versions_callback()("a", []))
    gate.wait_until_entered()
    detacher = run_in_thread(detach)
    gate.open()
    for thread in (caller, detacher):
        thread.join(LIMIT_SECONDS)

    assert order == ["call done", "detached"]
