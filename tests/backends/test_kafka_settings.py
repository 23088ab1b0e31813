import pytest

from topicserve.backends.confluent import broker as confluent
from topicserve.backends.kafka_settings import (
    ALIASES,
    CONSUMER_DEFAULTS,
    PRODUCER_DEFAULTS,
    Settings,
    for_consumer,
    for_producer,
    in_kafkas_names,
    unless_set,
)

CLIENTS: dict[str, tuple[Settings, Settings]] = {
    "kafka-python": ({}, {}),
    "confluent": (confluent.CONSUMER_DEFAULTS, confluent.PRODUCER_DEFAULTS),
}
CONSUMERS = [
    (client, name)
    for client, (consumer, _) in CLIENTS.items()
    for name in sorted({*CONSUMER_DEFAULTS, *consumer})
]
PRODUCERS = [
    (client, name)
    for client, (_, producer) in CLIENTS.items()
    for name in sorted({*PRODUCER_DEFAULTS, *producer})
]


@pytest.mark.parametrize(("client", "name"), CONSUMERS)
def test_of_a_consumers_setting_what_is_set_closest_to_it_wins(client: str, name: str) -> None:
    """Both clients' default, one client's, the user's for all connections, the user's for it."""
    own_default, _ = CLIENTS[client]
    default = {**CONSUMER_DEFAULTS, **own_default}[name]
    # A session's length is read as a number.
    everyone, this_one = 30_000, 40_000

    merged = [
        for_consumer(own_default, common, "group", own)[name]
        for common, own in (({}, {}), ({name: everyone}, {}), ({name: everyone}, {name: this_one}))
    ]

    assert merged == [default, everyone, this_one]


@pytest.mark.parametrize(("client", "name"), PRODUCERS)
def test_of_a_producers_setting_what_is_set_closest_to_it_wins(client: str, name: str) -> None:
    """As for consumers."""
    _, own_default = CLIENTS[client]
    default = {**PRODUCER_DEFAULTS, **own_default}[name]

    merged = [
        for_producer(own_default, common, own)[name]
        for common, own in (({}, {}), ({name: 1}, {}), ({name: 1}, {name: 2}))
    ]

    assert merged == [default, 1, 2]


@pytest.mark.parametrize(("client", "kib"), [("kafka-python", 4096), ("confluent", 256)])
def test_how_much_of_a_partition_is_fetched_at_once(client: str, kib: int) -> None:
    """As docs/operations.md says, for each client."""
    settings = for_consumer(CLIENTS[client][0], {}, "group", {})

    assert settings["max.partition.fetch.bytes"] == kib * 1024


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_librdkafkas_name_of_a_setting_replaces_its_default(alias: str, name: str) -> None:
    """Under Kafka's name, for the connections that it means; else both would be given."""
    client: Settings = {name: "default"}
    merged = {**for_consumer(client, {alias: 7}, "g", {}), **for_producer(client, {alias: 7}, {})}

    assert merged[name] in ("default", 7)
    assert alias not in merged
    assert 7 in (
        for_consumer(client, {alias: 7}, "g", {})[name],
        for_producer(client, {alias: 7}, {})[name],
    )
    assert in_kafkas_names({name: 1, alias: 2}) == {name: 2}
    assert unless_set({name: 1, "other": 2}, {alias: 3}) == {"other": 2}
