import pytest

from topicserve.backends.confluent.settings import to_confluent


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
