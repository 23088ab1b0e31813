"""What a replay does: the worker's configuration, changed where a replay differs."""

import argparse
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from msgspec.structs import replace

from topicserve.cli.config.flags import flags_of
from topicserve.cli.errors import UsageError
from topicserve.cli.replay.flags import SHARED_FLAGS
from topicserve.producer.arguments import topic_name
from topicserve.servables.kinds.registry import known_kinds
from topicserve.servables.server.model_config_file import ModelConfigFile
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import (
    LoggingConfig,
    LogLevel,
    OnMissingMetadata,
    WorkerConfig,
)
from topicserve.worker.config.served import ServedConfig
from topicserve.worker.replay.stages import asks_for
from topicserve.worker.runtime.bodies import open_bodies

_LONGEST_VERSION = 19
_PIPELINE = "pipeline"


@dataclass(frozen=True, slots=True)
class Plan:
    """A replay, before the broker is asked: its configuration, and which records it answers.

    `job` is made of what was typed: replicas and later runs of one command have the same, and notes
    of another job in the group are refused.
    """

    config: WorkerConfig
    live_topic: str
    """Where the results are that the worker publishes; empty where that is not known."""
    job: str
    servable: str
    """Whose records are replayed; empty: those of all."""
    version: int | None
    answers: str
    """What answers the records, for a person."""
    is_wanted: Callable[[KafkaRecord], bool]


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return what the flags and the configuration say. Asks no server.

    Canary, shadow and guard are taken out: one version answers. The live worker's topics, group and
    static names are never used for writing. Raises UsageError or ConfigError where that is wrong.
    """
    topic, output = topic_name(arguments.topic), topic_name(arguments.output_topic)
    live = load_config(arguments.config, os.environ, _flags(arguments))
    live_topic = arguments.live_topic or ("" if arguments.config is None else live.topics.output)
    dead_letter = topic_name(arguments.dead_letter_topic or f"{output}.dead-letter")
    _refuse_live_topics(arguments, live, live_topic, output, dead_letter)
    served, version = _served(arguments, live)
    job = _fingerprint(arguments, output, dead_letter, version)
    group = arguments.group or f"topicserve-replay-{job}"
    if arguments.config is not None and group == live.kafka.group_id:
        raise UsageError("--group: is the worker's own group, whose offsets a replay would move")
    config = replace(
        live,
        servables=served,
        model_config_file="" if arguments.servable else live.model_config_file,
        default_servable=arguments.servable[0] if arguments.servable else live.default_servable,
        topics=replace(
            live.topics, input=(topic,), output=output, dead_letter=dead_letter, shadow=""
        ),
        # The worker's own names would take its place in the cluster.
        kafka=replace(live.kafka, group_id=group, group_instance_id=None),
        delivery=replace(live.delivery, transactional_id=""),
        # Metadata is the live worker's to delete, and much of it has expired by now.
        metadata=replace(
            live.metadata,
            delete_after_publish=False,
            on_missing=OnMissingMetadata.PUBLISH,
            wait_seconds=0.0,
        ),
        logging=_logging(arguments, live.logging),
    )
    name = arguments.servable[0] if arguments.servable else ""
    return Plan(
        config,
        live_topic,
        job,
        name,
        version,
        _described(name, version),
        asks_for(name, live.default_servable, open_bodies(live)) if name else lambda _: True,
    )


def _flags(arguments: argparse.Namespace) -> dict[str, object]:
    typed = flags_of(arguments, SHARED_FLAGS)
    if arguments.config is None:
        typed |= {"topics.input": [arguments.topic], "topics.output": arguments.output_topic}
    return typed


def _refuse_live_topics(
    arguments: argparse.Namespace, live: WorkerConfig, live_topic: str, output: str, dead: str
) -> None:
    """Refuse to write where the records come from, or where live results go."""
    taken = {live_topic: "where live results go"}
    if arguments.config is not None:
        taken |= dict.fromkeys(live.topics.input, "a topic that the worker reads")
        taken |= {
            live.topics.output: "where live results go",
            live.dead_letter_topic: "where live dead letters go",
            live.topics.shadow: "where live differences go",
        }
    taken[arguments.topic] = "the replayed topic"
    for flag, topic in (("--output-topic", output), ("--dead-letter-topic", dead)):
        if topic in taken:
            raise UsageError(
                f"{flag}: {topic!r} is {taken[topic]}; name a topic of the replay's own"
            )
    if output == dead:
        raise UsageError("--dead-letter-topic: is the output topic; name another one")


def _served(
    arguments: argparse.Namespace, live: WorkerConfig
) -> tuple[tuple[ServedConfig, ...], int | None]:
    """Return what is loaded, and the version that answers all records where one is given."""
    plain = tuple(_plain(one) for one in live.servables)
    if arguments.servable is None:
        return plain, None
    plain += tuple(map(_plain, _listed(live)))
    name, wanted = arguments.servable
    found = next((one for one in plain if one.name == name), None)
    if found is None:
        known = ", ".join(one.name for one in plain) or "none"
        raise UsageError(f"--servable: {name!r} is not configured; servables are: {known}")
    # A pipeline's steps are servables of their own.
    others = [one for one in plain if one is not found] if found.kind == _PIPELINE else []
    if not wanted:
        return (found, *others), None
    version = _version(wanted, found)
    pinned = replace(
        found,
        version_policy=None,
        num_versions=None,
        versions=(version,),
        version_labels={},
        default_version=version,
        default_label=None,
    )
    return (pinned, *others), version


def _listed(live: WorkerConfig) -> list[ServedConfig]:
    """Return what the model config file lists now; InvalidArgumentError where it cannot be read."""
    if not live.model_config_file:
        return []
    file = ModelConfigFile(live.model_config_file, known_kinds, lambda _: None)
    return [ServedConfig.of(one) for one in file.read()]


def _plain(served: ServedConfig) -> ServedConfig:
    return replace(served, canary=None, shadow=None, guard_records=0)


def _version(wanted: str, served: ServedConfig) -> int:
    if wanted.isascii() and wanted.isdigit() and len(wanted) <= _LONGEST_VERSION:
        return int(wanted)
    labels = served.version_labels
    if wanted not in labels:
        known = ", ".join(labels) or "none"
        raise UsageError(f"--servable: {served.name} has no label {wanted!r}; its labels: {known}")
    return labels[wanted]


def _fingerprint(arguments: argparse.Namespace, output: str, dead: str, version: int | None) -> str:
    """Return what replicas and later runs of the same command have in common."""
    said = [
        *(arguments.topic, arguments.start.typed, arguments.end.typed, output, dead),
        *(arguments.servable or ("", "")),
        version,
    ]
    return hashlib.sha256(orjson.dumps(said)).hexdigest()[:8]


def _logging(arguments: argparse.Namespace, live: LoggingConfig) -> LoggingConfig:
    if arguments.verbose or live.level not in (LogLevel.INFO, LogLevel.DEBUG):
        return live
    return replace(live, level=LogLevel.WARNING)


def _described(name: str, version: int | None) -> str:
    if not name:
        return "the servables of the configuration"
    return name if version is None else f"{name} version {version}"
