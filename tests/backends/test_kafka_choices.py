from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from topicserve.backends.broker import Broker
from topicserve.backends.confluent.settings import to_confluent
from topicserve.backends.errors import BackendConfigError
from topicserve.backends.kafka_choices import CHOICES, without_values
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.kafka_python.settings import to_kafka_python

CANARY = "hunter2-canary"
NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}
CLIENTS = ("kafka-python", "confluent")
LISTED = [(client, name) for client in CLIENTS for name in CHOICES[client]]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("typed", ["sasl_ssl", "SASL_SSL", "Sasl_Ssl"])
def test_the_case_of_the_security_protocol_does_not_matter(client: str, typed: str) -> None:
    """As in Kafka; above all it is never plaintext because of it."""
    settings = {"security.protocol": typed, "sasl.mechanism": "PLAIN"}

    if client == "confluent":
        assert to_confluent(settings)["security.protocol"] == "SASL_SSL"
    else:
        assert to_kafka_python(settings, "admin")["security_protocol"] == "SASL_SSL"


@pytest.mark.parametrize(("client", "name"), LISTED)
@pytest.mark.parametrize("value", ["x", "SSLL", "SASL-SSL", "Plain", "", 7, True, ["a"]])
def test_a_word_that_is_not_listed_is_refused_before_anything_is_opened(
    client: str, name: str, value: object
) -> None:
    """By both clients alike; the message names the key and all that is allowed."""
    choice = CHOICES[client][name]
    if choice.read(str(value)) is not None:
        return

    with pytest.raises(BackendConfigError) as caught:
        open_broker(client, {**NOWHERE, name: value})

    assert str(caught.value).startswith(f"{name} must be ")
    assert all(word in str(caught.value) for word in choice.words)


@pytest.mark.parametrize(("client", "name"), LISTED)
def test_every_listed_word_is_taken_by_the_client(client: str, name: str) -> None:
    """And so is each other spelling."""
    choice = CHOICES[client][name]
    # librdkafka refuses an assignor beside Kafka's newer group protocol.
    fits = [word for word in (*choice.words, *choice.aliases) if word != "consumer"]
    for word in fits:
        broker = open_broker(client, NOWHERE)
        if name in ("acks", "compression.type", "compression.codec", "request.required.acks"):
            opened: Any = broker.producer({"enable.idempotence": False, name: word})
        else:
            login = {"sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "p"}
            opened = broker.consumer("group", login | {name: word})
        opened.close(0.1)


@pytest.mark.parametrize(
    ("typed", "described"),
    [
        ("SSLL", "found 'SSLL'; did you mean SSL?"),
        ("sasl-ssl", "found 'sasl-ssl'; did you mean SASL_SSL?"),
        (CANARY, "found a value of length 14"),
        ("", "found a value of length 0"),
        (7, "found a value of length 1"),
    ],
)
def test_a_slip_is_shown_and_nothing_else(typed: object, described: str) -> None:
    """What is close to a word is no secret; what is not may be one."""
    with pytest.raises(BackendConfigError) as caught:
        open_broker("kafka-python", {**NOWHERE, "security.protocol": typed})

    assert str(caught.value) == (
        "security.protocol must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL, " + described
    )


def test_the_policy_of_a_group_without_offsets_is_the_same_for_both() -> None:
    """Kafka calls it none, and librdkafka error."""
    for word in ("none", "error"):
        settings = {"auto.offset.reset": word}
        assert to_confluent(settings)["auto.offset.reset"] == "error"
        assert to_kafka_python(settings, "consumer")["auto_offset_reset"] == "none"


KEYS = sorted(
    {name for client in CLIENTS for name in CHOICES[client]}
    | {
        "session.timeout.ms",
        "check.crcs",
        "enable.auto.commit",
        "delivery.timeout.ms",
        "linger.ms",
        "retries",
        "partitioner",
        "sasl.password",
        "ssl.key.password",
        "plugin.library.paths",
        "topic.blacklist",
        "debug",
        "transaction.timeout.ms",
        "sasl.oauthbearer.config",
        "reconnect.backoff.ms",
        "statistics.interval.ms",
        "topicserve.max.decompressed.bytes",
        "topicserve.max.in.flight.bytes",
        "unknown.key",
    }
)
OPENERS: list[Callable[[Broker, Any], Any]] = [
    lambda broker, settings: broker.consumer("group", settings),
    lambda broker, settings: broker.producer(settings),
]


@given(
    client=st.sampled_from(CLIENTS),
    name=st.sampled_from(KEYS),
    secret=st.sampled_from(
        [CANARY, f" {CANARY}", f"{CANARY},range", 4815162342, [CANARY], {"a": CANARY}]
    ),
    is_common=st.booleans(),
)
@example(client="confluent", name="plugin.library.paths", secret=CANARY, is_common=False)
@example(client="kafka-python", name="session.timeout.ms", secret=4815162342, is_common=False)
@example(client="confluent", name="debug", secret=f" {CANARY}", is_common=False)
@example(client="confluent", name="debug", secret=f"broker, {CANARY} ,topic", is_common=True)
def test_no_value_of_a_setting_is_ever_shown(
    client: str, name: str, secret: object, is_common: bool
) -> None:
    """A secret in any key, for any client, of any kind: the message has only the key."""
    messages = []
    for opener in OPENERS:
        try:
            settings = {name: secret}
            broker = open_broker(client, {**NOWHERE, **settings} if is_common else NOWHERE)
            opened = opener(broker, {} if is_common else settings)
        except BackendConfigError as error:
            messages.append(str(error))
        else:
            with suppress(Exception):
                opened.close(0.1)

    assert not any(CANARY in message or "4815162342" in message for message in messages)


def test_paths_and_names_may_be_shown() -> None:
    """They say where to look."""
    settings = {"ssl.ca.location": "/etc/ca.pem", "client.id": "worker-1", "debug": CANARY}

    text = without_values(f"worker-1: no /etc/ca.pem, {CANARY}", settings)

    assert text == "worker-1: no /etc/ca.pem, ***"
