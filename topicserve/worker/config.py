"""What a worker is told: one dataclass a table of the TOML file, one field a key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from topicserve.servables.servable_config import ServableConfig


class Client(Enum):
    """Which Kafka client library carries the records."""

    KAFKA_PYTHON = "kafka-python"
    CONFLUENT = "confluent"


class Guarantee(Enum):
    """How often a result may be seen by a reader of committed records."""

    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


class OnMissingMetadata(Enum):
    """What to do with a record whose metadata is not there (after waiting, where asked for)."""

    PUBLISH = "publish"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """[kafka]: the client, the group, and Kafka's own settings, passed through by name."""

    bootstrap_servers: str = "127.0.0.1:9092"
    group_id: str = "topicserve"
    client: Client = Client.KAFKA_PYTHON
    group_instance_id: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    """For every connection, such as "security.protocol"."""
    consumer_settings: Mapping[str, object] = field(default_factory=dict)
    producer_settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicsConfig:
    """[topics]: where records come from and where results and dead letters go."""

    input: tuple[str, ...]
    output: str
    dead_letter: str = ""
    """Empty: the first input topic's name with ".dead-letter" behind it."""
    shadow: str = ""
    """Where a shadow version's differences go; needed only where a servable has a shadow."""


@dataclass(frozen=True, slots=True)
class MetadataConfig:
    """[metadata]: the store, and what to do when it has nothing."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    key_prefix: str = "topicserve:metadata:"
    ttl_seconds: float = 86_400.0
    timeout_seconds: float = 5.0
    on_missing: OnMissingMetadata = OnMissingMetadata.PUBLISH
    wait_seconds: float = 0.0
    """How long to look again for metadata that is missing."""
    delete_after_publish: bool = False


@dataclass(frozen=True, slots=True)
class BatchingConfig:
    """[batching]: how records become batches. Sizes count rows."""

    max_batch_size: int = 1024
    max_batch_bytes: int = 8 * 1024 * 1024
    batch_timeout_seconds: float = 0.0
    """How long a batch may wait for more rows, from its first record; 0 never waits."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """Increasing; the last is max_batch_size. Batches are padded up to the next one."""
    target_latency_seconds: float = 0.0
    """Above 0, the batch size follows what the servable was seen to cost."""
    max_in_flight_records: int = 8192
    max_in_flight_bytes: int = 64 * 1024 * 1024
    predict_threads: int = 1


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """[delivery]: the guarantee, and the limits on time and failure."""

    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    transactional_id: str = ""
    """Empty: the group id and the group instance id, or a random one."""
    commit_interval_seconds: float = 0.5
    drain_seconds: float = 5.0
    """How long partitions that are taken away are waited for."""
    shutdown_seconds: float = 30.0
    delivery_timeout_seconds: float = 120.0
    stuck_seconds: float = 300.0
    """/livez fails when records wait and nothing was committed for this long."""
    breaker_window_records: int = 1000
    max_dead_letter_share: float = 0.5
    """The worker stops when more than this share of the window's records is given up; 1 never."""
    max_retry_pause_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """[http]: metrics, health and status; port 0 takes a free one, -1 switches it off."""

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True)
class CanaryConfig:
    """[[servables]] canary: a share of record ids, stable by hash, goes to another version."""

    share: float
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class ShadowConfig:
    """[[servables]] shadow: a share of records is predicted by a second version too."""

    share: float
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class ServedConfig:
    """[[servables]]: a servable, and how the worker routes records to its versions."""

    servable: ServableConfig
    canary: CanaryConfig | None = None
    shadow: ShadowConfig | None = None


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Everything a worker is told."""

    topics: TopicsConfig
    servables: tuple[ServedConfig, ...]
    kafka: KafkaConfig = KafkaConfig()
    metadata: MetadataConfig = MetadataConfig()
    batching: BatchingConfig = BatchingConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    http: HttpConfig = HttpConfig()
    model_config_file: str = ""
    """TF Serving's model_config_list text file, instead of (or beside) [[servables]]."""
    file_system_poll_wait_seconds: float = 1.0
    load_threads: int = 2
    default_servable: str = ""
    """For records that name none; empty: the only servable there is."""

    @property
    def dead_letter_topic(self) -> str:
        """Return where dead letters go."""
        return self.topics.dead_letter or f"{self.topics.input[0]}.dead-letter"
