from typing import Any

import pytest

from topicserve.backends.kafka_python import broker as module
from topicserve.backends.kafka_python.broker import KafkaPythonBroker


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Note the arguments of each kind of client, which connects when it is first used."""
    noted: dict[str, dict[str, Any]] = {}

    def noting(name: str) -> Any:
        return lambda arguments, *_, **__: noted.setdefault(name, arguments)

    monkeypatch.setattr(module, "KafkaPythonConsumer", noting("consumer"))
    monkeypatch.setattr(module, "KafkaPythonProducerClient", noting("producer"))
    monkeypatch.setattr(module, "KafkaPythonProducer", lambda *_, **__: None)
    monkeypatch.setattr(module, "KafkaPythonAdmin", noting("admin"))
    return noted


def open_all(settings: dict[str, object]) -> None:
    """Open one client of each kind."""
    broker = KafkaPythonBroker({"bootstrap.servers": "127.0.0.1:1", **settings})
    broker.consumer("group")
    broker.producer()
    broker.admin()


def test_a_broker_that_keeps_silent_is_soon_given_up(opened: dict[str, dict[str, Any]]) -> None:
    """Records do not wait half a minute for a machine that is lost."""
    open_all({})

    timeouts_ms = {name: arguments["request_timeout_ms"] for name, arguments in opened.items()}
    assert timeouts_ms == {"consumer": 10_000, "producer": 10_000, "admin": 10_000}


def test_how_long_a_request_may_take_can_be_set(opened: dict[str, dict[str, Any]]) -> None:
    """A user's own setting wins."""
    open_all({"request.timeout.ms": 45_000})

    timeouts_ms = {name: arguments["request_timeout_ms"] for name, arguments in opened.items()}
    assert timeouts_ms == {"consumer": 45_000, "producer": 45_000, "admin": 45_000}


def test_a_fetch_may_wait_for_records_as_long_as_is_told(opened: dict[str, dict[str, Any]]) -> None:
    """kafka-python refuses a fetch that waits for longer than a request may take."""
    open_all({"fetch.max.wait.ms": 20_000})

    assert opened["consumer"]["request_timeout_ms"] == 30_000
    assert opened["producer"]["request_timeout_ms"] == 10_000
