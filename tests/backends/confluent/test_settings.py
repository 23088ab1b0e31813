import confluent_kafka
import pytest

from topicserve.backends.confluent.settings import opened, to_confluent


def test_a_broker_that_is_back_is_soon_noticed() -> None:
    """Clients look for it every second at least, as Kafka's do, or as often as they are told."""
    told = to_confluent({"reconnect.backoff.max.ms": 5_000})

    assert to_confluent({})["reconnect.backoff.max.ms"] == 1_000
    assert told["reconnect.backoff.max.ms"] == 5_000


@pytest.mark.parametrize("first_ms", [3_000, "3000"])
def test_a_longer_first_pause_before_a_reconnect_is_allowed(first_ms: object) -> None:
    """The longest pause is then as long, where librdkafka would refuse our default."""
    configuration = to_confluent({"reconnect.backoff.ms": first_ms})

    opened(confluent_kafka.Producer, configuration)

    assert configuration["reconnect.backoff.max.ms"] == 3_000


def test_a_broker_that_keeps_silent_is_soon_given_up() -> None:
    """Records do not wait a minute for a machine that is lost; or for as long as is told."""
    told = to_confluent({"socket.timeout.ms": 60_000})

    assert to_confluent({})["socket.timeout.ms"] == 10_000
    assert told["socket.timeout.ms"] == 60_000


def test_a_shorter_transaction_is_allowed() -> None:
    """A request then takes no longer than it, where librdkafka would refuse our default."""
    settings = {"transactional.id": "worker-1", "transaction.timeout.ms": 5_000}

    configuration = to_confluent(settings)
    opened(confluent_kafka.Producer, configuration)

    assert configuration["socket.timeout.ms"] == 5_000


def test_a_transactional_producer_keeps_the_brokers_it_knows() -> None:
    """Else librdkafka loses the coordinator of the group with them, and never finds it again."""
    configuration = to_confluent({"transactional.id": "worker-1"})

    assert configuration["metadata.recovery.strategy"] == "none"
    assert "metadata.recovery.strategy" not in to_confluent({"client.id": "worker-1"})


@pytest.mark.parametrize("value", ["rebootstrap", "none"])
def test_how_brokers_are_found_again_can_be_set(value: str) -> None:
    """A user's own setting wins."""
    settings = {"transactional.id": "worker-1", "metadata.recovery.strategy": value}

    assert to_confluent(settings)["metadata.recovery.strategy"] == value
