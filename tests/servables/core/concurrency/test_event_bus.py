import logging
import threading

import pytest

from tests.support.servables.lifecycle import LIMIT_SECONDS, Gate, ManualTimer, run_in_thread
from topicserve.servables.core.concurrency.event_bus import EventAndTime, EventBus


def test_an_event_without_subscribers_is_nobodys() -> None:
    """And those who come later do not hear of it."""
    bus: EventBus[str] = EventBus()
    heard: list[EventAndTime[str]] = []

    bus.publish("early")
    bus.subscribe(heard.append)

    assert heard == []


def test_subscribers_hear_events_with_their_times_until_they_leave() -> None:
    """All of them, on the publishing thread."""
    time = ManualTimer()
    bus: EventBus[str] = EventBus(time.clock)
    first: list[EventAndTime[str]] = []
    second: list[EventAndTime[str]] = []

    subscription = bus.subscribe(first.append)
    bus.subscribe(second.append)
    bus.publish("one")
    time.advance(2)
    bus.publish("two")
    subscription.close()
    bus.publish("three")

    assert first == [EventAndTime("one", 0), EventAndTime("two", 2)]
    assert second == [*first, EventAndTime("three", 2)]


def test_a_subscription_may_be_closed_twice() -> None:
    """Another one stays."""
    bus: EventBus[str] = EventBus()
    heard: list[EventAndTime[str]] = []
    subscription = bus.subscribe(print)
    bus.subscribe(heard.append)

    subscription.close()
    subscription.close()
    bus.publish("one")

    assert len(heard) == 1


def test_a_subscriber_may_publish() -> None:
    """What it publishes comes after what it heard, for everybody."""
    bus: EventBus[int] = EventBus()
    heard: list[int] = []

    def answer(event: EventAndTime[int]) -> None:
        if event.event < 3:
            bus.publish(event.event + 1)

    bus.subscribe(answer)
    bus.subscribe(lambda event: heard.append(event.event))
    bus.publish(1)

    assert heard == [1, 2, 3]


def test_a_subscriber_that_fails_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the publisher nor the other subscribers; the failure is logged."""
    bus: EventBus[str] = EventBus()
    heard: list[str] = []

    def fail(event: EventAndTime[str]) -> None:
        raise RuntimeError(f"broken listener of {event.event}")

    bus.subscribe(fail)
    bus.subscribe(lambda event: heard.append(event.event))
    with caplog.at_level(logging.ERROR):
        bus.publish("one")

    assert heard == ["one"]
    assert "broken listener" in caplog.text


def test_events_come_in_one_order_whoever_publishes() -> None:
    """A thread that finds another one delivering leaves its event to that one."""
    bus: EventBus[str] = EventBus()
    heard: list[tuple[str, threading.Thread]] = []
    gate = Gate()

    def listen(event: EventAndTime[str]) -> None:
        heard.append((event.event, threading.current_thread()))
        if event.event == "first":
            gate()

    bus.subscribe(listen)
    publisher = run_in_thread(lambda: bus.publish("first"))
    gate.wait_until_entered()
    bus.publish("second")
    gate.open()
    publisher.join(LIMIT_SECONDS)

    assert heard == [("first", publisher), ("second", publisher)]
