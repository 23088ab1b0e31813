import pytest

from topicserve.backends.kafka_python.settings import to_kafka_python


@pytest.mark.parametrize("role", ["consumer", "producer", "admin"])
def test_a_broker_that_is_back_is_soon_noticed(role: str) -> None:
    """Clients look for it every second at least, as Kafka's do, or as often as they are told."""
    told = to_kafka_python({"reconnect.backoff.max.ms": 5_000}, role)

    assert to_kafka_python({}, role)["reconnect_backoff_max_ms"] == 1_000
    assert told["reconnect_backoff_max_ms"] == 5_000


@pytest.mark.parametrize("role", ["consumer", "producer"])
def test_the_clients_own_metrics_are_off_unless_asked_for(role: str) -> None:
    """No one reads them here, and keeping them costs a part of every request."""
    told = to_kafka_python({"metrics.enabled": "true"}, role)

    assert to_kafka_python({}, role)["metrics_enabled"] is False
    assert told["metrics_enabled"] is True
