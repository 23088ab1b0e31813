"""What must hold between the keys of a configuration.

Bounds of single keys are in their types, beside the key.
"""

import re
from itertools import pairwise

from topicserve.backends.kafka_choices import problem_of
from topicserve.backends.references.allow_list import HTTP, HTTPS, AllowList, read_prefix
from topicserve.backends.references.errors import ReferenceRefusedError
from topicserve.servables.server.servable_config import ServableConfig, VersionPolicyKind
from topicserve.worker.config.faults import missing, shown
from topicserve.worker.config.schema import (
    BatchingConfig,
    ConfigError,
    Guarantee,
    KafkaConfig,
    WorkerConfig,
)
from topicserve.worker.config.served import CanaryConfig, ServedConfig, ShadowConfig

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:,@/\[\]]+):(\d{1,5})", re.ASCII)

OWN_SETTINGS = {
    "bootstrap.servers": "set kafka.bootstrap_servers instead",
    "group.id": "set kafka.group_id instead",
    "group.instance.id": "set kafka.group_instance_id instead",
    "transactional.id": "set delivery.transactional_id instead",
    "enable.auto.commit": "offsets are committed once their results are acknowledged",
}
# Shorter ones would be given up on the way to a broker that is merely busy.
_SHORTEST_TRANSACTION_MS = 1_000


def check(config: WorkerConfig) -> None:
    """Raise ConfigError for the first thing that cannot work."""
    _check_kafka(config.kafka)
    _check_topics(config)
    _check_batch_sizes(config.batching)
    _check_transactions(config)
    _check_served(config)
    _check_dataref(config)
    if not config.http.host:
        raise ConfigError("http.host", 'must be an address to listen on, such as "127.0.0.1"')


def _check_dataref(config: WorkerConfig) -> None:
    dataref = config.dataref
    try:
        AllowList(dataref.allow)
    except ReferenceRefusedError as error:
        raise ConfigError("dataref.allow", str(error)) from None
    if dataref.results:
        try:
            prefix = read_prefix(dataref.results)
        except ReferenceRefusedError as error:
            raise ConfigError("dataref.results", str(error)) from None
        if prefix.scheme in (HTTP, HTTPS):
            raise ConfigError("dataref.results", "must be a store or file:, not a web server")
    most = config.batching.max_in_flight_bytes
    if dataref.allow and dataref.max_bytes > most:
        raise ConfigError("dataref.max_bytes", f"must be at most max_in_flight_bytes, {most}")
    # Nothing is committed while the oldest record waits: the worker would be restarted for that.
    stall = config.delivery.stall_timeout_seconds
    if (dataref.allow or dataref.results) and dataref.wait_seconds >= stall:
        problem = f"must be less than delivery.stall_timeout_seconds, {stall:g}"
        raise ConfigError("dataref.wait_seconds", problem)


def _check_kafka(kafka: KafkaConfig) -> None:
    for number, server in enumerate(kafka.bootstrap_servers.split(","), start=1):
        found = _SERVER.fullmatch(server.strip())
        if not found or not 0 < int(found[2]) < 65_536:
            raise ConfigError(
                "kafka.bootstrap_servers",
                f"must be host:port, with commas between; number {number} is not",
            )
    if not kafka.group_id:
        raise ConfigError("kafka.group_id", "must be the consumer group's name")
    for table in ("settings", "consumer_settings", "producer_settings"):
        for name, value in getattr(kafka, table).items():
            if name in OWN_SETTINGS:
                raise ConfigError(f"kafka.{table}.{name}", f"is not free: {OWN_SETTINGS[name]}")
            problem = problem_of(kafka.client.value, name, value)
            if problem is not None:
                raise ConfigError(f"kafka.{table}.{name}", problem)


def _check_topics(config: WorkerConfig) -> None:
    topics = config.topics
    if not topics.input:
        raise missing("topics.input", "name at least one topic to read")
    used = {topic: f"topics.input[{index}]" for index, topic in enumerate(topics.input)}
    if len(used) < len(topics.input):
        raise ConfigError("topics.input", "names a topic twice")
    for key, topic in (
        ("topics.output", topics.output),
        ("topics.dead_letter", config.dead_letter_topic),
        ("topics.shadow", topics.shadow),
    ):
        if topic in used:
            # Results that are read back as input go round for ever.
            raise ConfigError(key, f"{shown(topic)} is {used[topic]} too; each needs its own topic")
        if topic or key == "topics.output":
            used[topic] = key
    for topic, key in used.items():
        if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
            raise ConfigError(
                key, f"must be 1 to 249 of a-z A-Z 0-9 . _ - as Kafka asks, found {shown(topic)}"
            )


def _check_batch_sizes(batching: BatchingConfig) -> None:
    key = "batching.allowed_batch_sizes"
    sizes = batching.allowed_batch_sizes
    if any(before >= after for before, after in pairwise(sizes)):
        raise ConfigError(key, f"must be increasing, found {list(sizes)}")
    if sizes and sizes[-1] != batching.max_batch_size:
        raise ConfigError(
            key,
            f"must end with batching.max_batch_size ({batching.max_batch_size}), found {sizes[-1]}",
        )


def _check_transactions(config: WorkerConfig) -> None:
    if config.delivery.guarantee is not Guarantee.EXACTLY_ONCE:
        return
    settings = {**config.kafka.settings, **config.kafka.producer_settings}
    timeout_ms = config.transaction_timeout_ms
    if type(timeout_ms) is not int or timeout_ms < _SHORTEST_TRANSACTION_MS:
        raise ConfigError(
            "kafka.producer_settings.transaction.timeout.ms",
            f"must be a whole number of at least {_SHORTEST_TRANSACTION_MS}",
        )
    if settings.get("enable.idempotence") is False:
        raise ConfigError(
            "kafka.producer_settings.enable.idempotence",
            'must not be false with delivery.guarantee "exactly_once"',
        )


def _check_served(config: WorkerConfig) -> None:
    if not config.servables and not config.model_config_file:
        raise missing(
            "servables", "name one with [[servables]], --servable NAME=BASE_PATH or a model config"
        )
    for served in config.servables:
        _check_one(served, config.topics.shadow)
    names = [served.name for served in config.servables]
    # What a model config file serves is known once it has been read.
    if config.default_servable not in ("", *names) and not config.model_config_file:
        raise ConfigError(
            "default_servable",
            f"must be one of {', '.join(sorted(names))}, found {shown(config.default_servable)}",
        )


def _check_one(served: ServedConfig, shadow_topic: str) -> None:
    servable = served.servable
    key = f"servables.{servable.name}"
    if not servable.base_path:
        raise ConfigError(f"{key}.base_path", "must be the directory that holds the versions")
    _check_policy(served, key)
    if "" in servable.version_labels:
        raise ConfigError(f"{key}.version_labels", "must not have a label without a name")
    for side, name in ((served.canary, "canary"), (served.shadow, "shadow")):
        if side is not None:
            _check_side(side, servable, f"{key}.{name}")
    if served.shadow is not None and not shadow_topic:
        raise missing("topics.shadow", f"{key}.shadow publishes its differences there")
    _check_default(served, key)


def _check_policy(served: ServedConfig, key: str) -> None:
    """Check that the policy, the number and the list of versions belong together."""
    kind, versions = served.policy_kind, served.versions
    if kind is VersionPolicyKind.SPECIFIC and not versions:
        raise ConfigError(f"{key}.versions", 'must list the versions of version_policy "specific"')
    if kind is not VersionPolicyKind.SPECIFIC and versions:
        raise ConfigError(
            f"{key}.versions", f'belongs to version_policy "specific", found {kind.value!r}'
        )
    if kind is not VersionPolicyKind.LATEST and served.num_versions is not None:
        raise ConfigError(
            f"{key}.num_versions", f'belongs to version_policy "latest", found {kind.value!r}'
        )


def _check_side(side: CanaryConfig | ShadowConfig, servable: ServableConfig, key: str) -> None:
    if (side.version is None) == (side.label is None):
        raise ConfigError(key, "must have either a version or a label")
    _check_named(side.version, side.label, servable, f"{key}.version", f"{key}.label")


def _check_default(served: ServedConfig, key: str) -> None:
    """Check that there is a default version, and that it is neither the canary nor the shadow."""
    servable = served.servable
    version, label = servable.default_version, servable.default_label
    version_key, label_key = f"{key}.default_version", f"{key}.default_label"
    if version is not None and label is not None:
        raise ConfigError(label_key, "must not be set beside default_version")
    _check_named(version, label, servable, version_key, label_key)
    default_key = version_key if label is None else label_key
    default = _version_of(version, label, servable)
    reserved = {
        name: _version_of(side.version, side.label, servable)
        for name, side in (("canary", served.canary), ("shadow", served.shadow))
        if side is not None
    }
    for name, other in reserved.items():
        if default == other:
            raise ConfigError(default_key, f"must not be the {name}'s version, which is {other}")
    listed = servable.version_policy.versions
    if default is None and listed and not set(listed) - set(reserved.values()):
        raise ConfigError(
            f"{key}.versions", f"must list one for the default, besides {' and '.join(reserved)}"
        )


def _check_named(
    version: int | None, label: str | None, servable: ServableConfig, *keys: str
) -> None:
    """Check that a version or label may be found: keys of the two."""
    listed = servable.version_policy.versions
    if version is not None and listed and version not in listed:
        raise ConfigError(keys[0], f"must be one of versions, found {version}")
    if label is not None and label not in servable.version_labels:
        raise ConfigError(keys[1], f"must be one of version_labels, found {shown(label)}")


def _version_of(version: int | None, label: str | None, servable: ServableConfig) -> int | None:
    return version if label is None else servable.version_labels[label]
