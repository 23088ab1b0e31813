import threading
from collections.abc import Mapping

from tests.support.servables.lifecycle import LIMIT_SECONDS, ManualTimer, run_in_thread
from topicserve.servables.core.concurrency.event_bus import EventAndTime, EventBus
from topicserve.servables.core.errors import UnknownError
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.servables.core.servable_state_monitor import ServableStateMonitor

S = ManagerState
States = Mapping[ServableId, ManagerState]


class Monitored:
    """A monitor and the bus that it hears."""

    def __init__(self, max_log_events: int = 0, max_ended_versions: int = 16) -> None:
        self.timer = ManualTimer()
        self.bus: EventBus[ServableState] = EventBus(self.timer.clock)
        self.monitor = ServableStateMonitor(self.bus, max_log_events, max_ended_versions)
        self.answers: list[tuple[bool, States]] = []

    def publish(self, name: str, version: int, state: ManagerState) -> ServableState:
        error = UnknownError("broken") if state is S.END else None
        published = ServableState(ServableId(name, version), state, error)
        self.bus.publish(published)
        return published

    def answer(self, is_reached: bool, states: States) -> None:
        self.answers.append((is_reached, states))

    def notify(self, *requests: ServableRequest) -> None:
        self.monitor.notify_when_servables_reach_state(requests, S.AVAILABLE, self.answer)


def test_states_are_remembered_with_their_times() -> None:
    """By id, by name and all together; the log has them in order."""
    monitored = Monitored(max_log_events=4)
    monitor = monitored.monitor
    assert monitor.state(ServableId("a", 1)) is None
    assert monitor.versions("a") == {}

    first = monitored.publish("a", 1, S.START)
    monitored.timer.advance(2)
    second = monitored.publish("a", 2, S.LOADING)
    third = monitored.publish("b", 7, S.AVAILABLE)

    assert monitor.state_and_time(ServableId("a", 1)) == EventAndTime(first, 0)
    assert monitor.state_and_time(ServableId("a", 2)) == EventAndTime(second, 2)
    assert monitor.state(ServableId("b", 7)) == third
    assert monitor.versions("a") == {2: second, 1: first}
    assert monitor.all_states() == {"a": {2: second, 1: first}, "b": {7: third}}
    assert [one.event for one in monitor.log()] == [first, second, third]


def test_a_later_event_replaces_its_own_versions_state_alone() -> None:
    """Whatever it says; the full log lets go of the oldest event."""
    monitored = Monitored(max_log_events=3)
    monitored.publish("a", 1, S.START)
    other = monitored.publish("a", 2, S.AVAILABLE)
    monitored.publish("a", 1, S.AVAILABLE)

    backwards = monitored.publish("a", 1, S.START)

    assert monitored.monitor.versions("a") == {2: other, 1: backwards}
    assert [one.event.manager_state for one in monitored.monitor.log()] == [
        *(S.AVAILABLE, S.AVAILABLE, S.START),
    ]


def test_there_is_no_log_unless_asked_for() -> None:
    """The states are there all the same."""
    monitored = Monitored()
    state = monitored.publish("a", 1, S.START)

    assert monitored.monitor.log() == []
    assert monitored.monitor.state(ServableId("a", 1)) == state


def test_what_has_ended_does_not_live() -> None:
    """A name without living versions is left out."""
    monitored = Monitored()
    living = monitored.publish("a", 1, S.UNLOADING)
    monitored.publish("a", 2, S.END)
    monitored.publish("b", 1, S.END)

    assert monitored.monitor.live_states() == {"a": {1: living}}


def test_a_name_is_available_while_one_version_is() -> None:
    """And no longer."""
    monitored = Monitored()
    monitored.publish("a", 1, S.AVAILABLE)
    monitored.publish("a", 2, S.LOADING)
    monitored.publish("b", 1, S.LOADING)
    before = monitored.monitor.available_names()

    monitored.publish("a", 1, S.UNLOADING)

    assert before == {"a"}
    assert monitored.monitor.available_names() == set()


def test_versions_come_highest_first() -> None:
    """In whatever order they were heard of."""
    monitored = Monitored()
    for version in (2, 10, 1):
        monitored.publish("a", version, S.START)

    assert list(monitored.monitor.versions("a")) == [10, 2, 1]


def test_ended_versions_can_be_forgotten() -> None:
    """Those alone; their name stays."""
    monitored = Monitored()
    monitored.publish("a", 1, S.END)
    unloading = monitored.publish("b", 1, S.UNLOADING)

    monitored.monitor.forget_unloaded_servable_states()

    assert monitored.monitor.all_states() == {"a": {}, "b": {1: unloading}}


def test_only_the_last_ended_versions_are_remembered() -> None:
    """A worker that swaps versions for years does not grow; what lives is never forgotten."""
    monitored = Monitored(max_ended_versions=2)
    monitored.publish("a", 1, S.AVAILABLE)
    for version in (9, 5, 7, 6):
        monitored.publish("a", version, S.END)

    assert list(monitored.monitor.versions("a")) == [7, 6, 1]


def test_no_request_is_reached_at_once() -> None:
    """With nothing to tell."""
    monitored = Monitored()

    monitored.notify()

    assert monitored.answers == [(True, {})]


def test_a_specific_version_reaches_the_goal() -> None:
    """The answer names it."""
    monitored = Monitored()
    monitored.notify(ServableRequest.specific("a", 2))
    monitored.publish("a", 1, S.AVAILABLE)
    monitored.publish("a", 2, S.LOADING)
    before = list(monitored.answers)

    monitored.publish("a", 2, S.AVAILABLE)

    assert before == []
    assert monitored.answers == [(True, {ServableId("a", 2): S.AVAILABLE})]


def test_a_specific_version_that_ends_answers_too() -> None:
    """It has not reached the goal."""
    monitored = Monitored()
    monitored.notify(ServableRequest.specific("a", 2))

    monitored.publish("a", 2, S.END)

    assert monitored.answers == [(False, {ServableId("a", 2): S.END})]


def test_any_version_at_the_goal_answers_for_the_latest() -> None:
    """The answer names it."""
    monitored = Monitored()
    monitored.notify(ServableRequest.latest("a"))

    monitored.publish("a", 2, S.LOADING)
    monitored.publish("a", 1, S.AVAILABLE)

    assert monitored.answers == [(True, {ServableId("a", 1): S.AVAILABLE})]


def test_a_version_that_ends_answers_for_the_latest() -> None:
    """Where none is at the goal."""
    monitored = Monitored()
    monitored.notify(ServableRequest.latest("a"))

    monitored.publish("a", 2, S.END)

    assert monitored.answers == [(False, {ServableId("a", 2): S.END})]


def test_a_higher_version_that_ended_hides_no_available_one() -> None:
    """Which TF Serving's monitor lets it do."""
    monitored = Monitored()
    monitored.publish("a", 1, S.AVAILABLE)
    monitored.publish("a", 2, S.END)

    monitored.notify(ServableRequest.latest("a"))

    assert monitored.answers == [(True, {ServableId("a", 1): S.AVAILABLE})]


def test_several_requests_are_answered_together() -> None:
    """When the last one is decided; one that ended is enough to miss the goal."""
    monitored = Monitored()
    monitored.notify(
        ServableRequest.specific("a", 1),
        ServableRequest.specific("b", 1),
        ServableRequest.latest("c"),
    )
    monitored.publish("a", 1, S.AVAILABLE)
    monitored.publish("c", 3, S.AVAILABLE)
    before = list(monitored.answers)

    monitored.publish("b", 1, S.END)

    assert before == []
    assert monitored.answers == [
        (
            False,
            {
                ServableId("a", 1): S.AVAILABLE,
                ServableId("b", 1): S.END,
                ServableId("c", 3): S.AVAILABLE,
            },
        )
    ]


def test_an_answer_comes_once() -> None:
    """However often the goal is reached again."""
    monitored = Monitored()
    monitored.notify(ServableRequest.specific("a", 1))

    monitored.publish("a", 1, S.AVAILABLE)
    monitored.publish("a", 1, S.AVAILABLE)

    assert len(monitored.answers) == 1


def test_an_answer_may_ask_the_monitor() -> None:
    """No lock is held while it is told."""
    monitored = Monitored()
    seen: list[set[str]] = []
    monitored.monitor.notify_when_servables_reach_state(
        [ServableRequest.latest("a")],
        S.AVAILABLE,
        lambda *_: seen.append(monitored.monitor.available_names()),
    )

    monitored.publish("a", 1, S.AVAILABLE)

    assert seen == [{"a"}]


def test_a_wait_ends_with_the_last_request() -> None:
    """Whether events came before it or come during it."""
    monitored = Monitored()
    requests = [ServableRequest.specific("a", 1), ServableRequest.latest("b")]
    monitored.publish("a", 1, S.AVAILABLE)
    waited: list[tuple[bool, States]] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        waited.append(
            monitored.monitor.wait_until_servables_reach_state(requests, S.AVAILABLE, LIMIT_SECONDS)
        )

    waiter = run_in_thread(wait)
    assert waiting.wait(LIMIT_SECONDS)
    monitored.publish("b", 5, S.END)
    waiter.join(LIMIT_SECONDS)

    assert waited == [(False, {ServableId("a", 1): S.AVAILABLE, ServableId("b", 5): S.END})]


def test_a_wait_that_times_out_leaves_nothing_behind() -> None:
    """It says what was decided by then, and a later event finds no one to tell."""
    monitored = Monitored()
    requests = [ServableRequest.specific("a", 1), ServableRequest.latest("b")]
    monitored.publish("a", 1, S.AVAILABLE)

    answer = monitored.monitor.wait_until_servables_reach_state(requests, S.AVAILABLE, 0)
    monitored.publish("b", 1, S.AVAILABLE)

    assert answer == (False, {ServableId("a", 1): S.AVAILABLE})
    assert monitored.monitor._waiting == []


def test_a_closed_monitor_hears_nothing() -> None:
    """What it knew stays."""
    monitored = Monitored()
    state = monitored.publish("a", 1, S.LOADING)

    monitored.monitor.close()
    monitored.publish("a", 1, S.AVAILABLE)

    assert monitored.monitor.versions("a") == {1: state}
