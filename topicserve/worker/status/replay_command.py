"""The command that tries a worker's dead letters again, for the status page."""

import shlex
from collections.abc import Iterator

from topicserve.redact import redact_url
from topicserve.worker.config.schema import WorkerConfig


def replay_command(config: WorkerConfig) -> str:
    """Return the command, as a dry run, with every flag that it needs and that is no secret."""
    kafka, metadata = config.kafka, config.metadata
    flags = {
        "--topic": config.dead_letter_topic,
        "--bootstrap-servers": kafka.bootstrap_servers,
        "--client": kafka.client.value,
        "--redis-url": redact_url(metadata.redis_url),
        "--key-prefix": metadata.key_prefix,
    }
    words = ["topicserve", "dead-letters", "replay"]
    for flag, value in flags.items():
        # What begins with a dash would be taken for a flag.
        words += [f"{flag}={value}"] if value.startswith("-") else [flag, value]
    return shlex.join(words)


def replay_secrets(config: WorkerConfig) -> list[str]:
    """Return what has to be added to the command, because it is not shown."""
    return list(_hidden(config))


def _hidden(config: WorkerConfig) -> Iterator[str]:
    kafka, url = config.kafka, config.metadata.redis_url
    if kafka.settings or kafka.consumer_settings or kafka.producer_settings:
        yield "your Kafka settings for connections, each as --kafka-setting NAME=VALUE"
    if redact_url(url) != url:
        yield "your metadata.redis_url as a whole, in place of the one above"
