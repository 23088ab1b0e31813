"""The command that the status page prints, read as `topicserve dead-letters replay` reads it."""

import argparse
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.cli.dead_letters import replay_flags
from topicserve.worker.config.schema import (
    Client,
    KafkaConfig,
    MetadataConfig,
    TopicsConfig,
    WorkerConfig,
)
from topicserve.worker.status.replay_command import replay_command, replay_secrets


def a_config(
    kafka: KafkaConfig | None = None,
    metadata: MetadataConfig | None = None,
    dead_letter: str = "dead",
) -> WorkerConfig:
    """Return the configuration of a worker whose dead letters are replayed."""
    return WorkerConfig(
        TopicsConfig(("in",), "out", dead_letter),
        (),
        kafka=kafka or KafkaConfig(),
        metadata=metadata or MetadataConfig(),
    )


def read(command: str) -> argparse.Namespace:
    """Return the flags of the command, as a shell and the command line have them."""
    program, *words = shlex.split(command)
    assert [program, *words[:2]] == ["topicserve", "dead-letters", "replay"]
    parser = argparse.ArgumentParser(exit_on_error=False)
    replay_flags.add_arguments(parser)
    return parser.parse_args(words[2:])


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(["-x", "--yes", "a b:", "$(id)", "'", ""])
)
def test_the_command_looks_where_the_worker_looks(key_prefix: str) -> None:
    """Whatever the key prefix is: with another one, all metadata would be missing."""
    kafka = KafkaConfig(bootstrap_servers="a:1,b:2", client=Client.CONFLUENT)
    metadata = MetadataConfig(redis_url="rediss://store:6380/3", key_prefix=key_prefix)

    flags = read(replay_command(a_config(kafka, metadata, "-dead")))

    assert flags.key_prefix == key_prefix
    assert flags.redis_url == "rediss://store:6380/3"
    assert (flags.topic, flags.bootstrap_servers, flags.client) == ("-dead", "a:1,b:2", "confluent")
    assert not flags.yes


def test_nothing_has_to_be_added_where_nothing_is_hidden() -> None:
    """The command is whole."""
    assert replay_secrets(a_config()) == []


@pytest.mark.parametrize(
    "kafka",
    [
        KafkaConfig(settings={"sasl.password": "hidden-1"}),
        KafkaConfig(consumer_settings={"sasl.password": "hidden-1"}),
        KafkaConfig(producer_settings={"sasl.password": "hidden-1"}),
    ],
)
def test_secrets_are_not_shown_and_said_to_be_needed(kafka: KafkaConfig) -> None:
    """A password is in no command; what is to be added is named by its key."""
    config = a_config(kafka, MetadataConfig(redis_url="redis://user:hidden-2@store:6379/0"))

    command, needs = replay_command(config), replay_secrets(config)

    assert "hidden" not in f"{command} {needs}"
    assert [("--kafka-setting" in needs[0]), ("metadata.redis_url" in needs[1])] == [True, True]
