"""What a worker is told: one struct a table of the TOML file, one field a key.

The text under a field is its line in docs/configuration.md.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

from msgspec import Meta, field

from topicserve.backends import defaults
from topicserve.errors import TopicserveError
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.config.models import ModelsConfig
from topicserve.worker.config.served import ServedConfig
from topicserve.worker.config.types import (
    ConfigTable,
    Count,
    KafkaSettings,
    PositiveSeconds,
    Seconds,
    Share,
)


class ConfigError(TopicserveError):
    """The configuration is wrong. The message starts with the key and says what to write."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class Client(Enum):
    """Which Kafka client library carries the records."""

    KAFKA_PYTHON = defaults.KAFKA_PYTHON
    CONFLUENT = defaults.CONFLUENT


class Guarantee(Enum):
    """How often a result may be seen by a reader of committed records."""

    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


class OnMissingMetadata(Enum):
    """What to do with a record whose metadata is not there (after waiting, where asked for)."""

    PUBLISH = "publish"
    DEAD_LETTER = "dead_letter"


class LogFormat(Enum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


class LogLevel(Enum):
    """The least severe events that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class KafkaConfig(ConfigTable, frozen=True):
    """[kafka]: the client, the group, and Kafka's own settings, passed through by name."""

    HIDDEN = frozenset({"settings", "consumer_settings", "producer_settings"})

    bootstrap_servers: str = defaults.DEFAULT_BOOTSTRAP_SERVERS
    """Where to find the cluster: host:port, several with commas between."""
    group_id: str = "topicserve"
    """The consumer group; replicas with the same one share the partitions."""
    client: Client = Client.KAFKA_PYTHON
    """The client library. Faster with an extra to install: topicserve[fast], or "confluent"."""
    group_instance_id: str | None = None
    """Static membership: a name that this replica alone has, and keeps over restarts."""
    unreachable_timeout_seconds: PositiveSeconds = 15.0
    """/readyz fails when no broker has answered for this long."""
    max_decompressed_bytes: Count = 128 * 1024 * 1024
    """The most bytes that a batch may decompress to; with "confluent" see docs/quarantine.md."""
    settings: KafkaSettings = field(default_factory=dict)
    """Kafka's settings for every connection, such as `security.protocol = "SASL_SSL"`."""
    consumer_settings: KafkaSettings = field(default_factory=dict)
    """Kafka's settings for the consumer, such as `session.timeout.ms = 10000`."""
    producer_settings: KafkaSettings = field(default_factory=dict)
    """Kafka's settings for the producer, such as `compression.type = "lz4"`."""


class TopicsConfig(ConfigTable, frozen=True):
    """[topics]: where records come from and where results and dead letters go."""

    input: tuple[str, ...]
    """The topics to read."""
    output: str
    """Where results go."""
    dead_letter: str = ""
    """Where dead letters go; empty: the first input topic's name with ".dead-letter" behind it."""
    shadow: str = ""
    """Where a shadow version's differences go; needed only where a servable has a shadow."""
    create_partitions: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Above 0, topics that are missing are created with so many partitions; 0: that is an error."""


class MetadataConfig(ConfigTable, frozen=True):
    """[metadata]: the store, and what to do when it has nothing."""

    HIDDEN = frozenset({"redis_url"})

    redis_url: str = defaults.DEFAULT_REDIS_URL
    """The store: redis://, rediss:// (TLS) or unix://, with user and password where needed."""
    key_prefix: str = defaults.DEFAULT_KEY_PREFIX
    """What stands before the record id in a key; may be empty."""
    ttl_seconds: PositiveSeconds = 86_400.0
    """How long metadata is kept; the worker itself stores none, producers do."""
    timeout_seconds: PositiveSeconds = 5.0
    """How long one round trip may take before the store counts as away."""
    on_missing: OnMissingMetadata = OnMissingMetadata.PUBLISH
    """What becomes of a record whose metadata is missing."""
    wait_seconds: Seconds = 0.0
    """How long to look again for metadata that is missing."""
    delete_after_publish: bool = False
    """Delete metadata once its result is acknowledged, instead of leaving it to its TTL."""


class BatchingConfig(ConfigTable, frozen=True):
    """[batching]: how records become batches. Sizes count rows."""

    max_batch_size: Count = 1024
    """The most rows in a batch; a record that alone has more goes alone."""
    max_batch_bytes: Count = 8 * 1024 * 1024
    """The most bytes of records in a batch."""
    batch_timeout_seconds: Seconds = 0.0
    """How long a batch may wait for more rows, from its first record; 0 never waits."""
    allowed_batch_sizes: tuple[Count, ...] = ()
    """Increasing; the last is max_batch_size. Batches are padded up to the next one."""
    target_latency_seconds: Seconds = 0.0
    """Above 0, the batch size follows what the servable was seen to cost."""
    max_in_flight_records: Count = 16_384
    """Records polled and not yet acknowledged; when as many are, partitions are paused."""
    max_in_flight_bytes: Count = 64 * 1024 * 1024
    """The same bound in bytes: of records as they lie in memory, and of results."""
    predict_threads: Annotated[int, Meta(ge=1, le=256)] = 1
    """Batch threads, but for one more that encodes meanwhile; TensorFlow alone uses all cores."""
    check_batches: Annotated[int, Meta(ge=0, le=1_000_000)] = 8
    """Of how many joined batches of a signature some records are also predicted alone; 0: none."""


class DeliveryConfig(ConfigTable, frozen=True):
    """[delivery]: the guarantee, and the limits on time and failure."""

    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    """Whether a reader of committed records may see a result twice after a crash."""
    transactional_id: str = ""
    """Empty: the group id and the group instance id, or a random one."""
    commit_interval_seconds: PositiveSeconds = 0.5
    """How often offsets are committed; under exactly_once, how long results gather at most."""
    drain_timeout_seconds: Seconds = 5.0
    """How long partitions that are taken away are waited for."""
    shutdown_timeout_seconds: PositiveSeconds = 30.0
    """How long a stop may take before what is left is given up, uncommitted."""
    delivery_timeout_seconds: PositiveSeconds = 120.0
    """How long the broker may take to acknowledge a result before it is sent again."""
    stall_timeout_seconds: PositiveSeconds = 300.0
    """/livez fails when records wait and nothing was committed for this long, unless they wait for
    a servable."""
    predict_timeout_seconds: Seconds = 120.0
    """The worker notes a batch whose prediction takes longer, and ends; 0 waits for ever."""
    max_attempts: Annotated[int, Meta(ge=0, le=100)] = 3
    """A record in flight at so many deaths (twice alone) or timeouts is given up; 0 never."""
    unknown_version_timeout_seconds: Seconds = 30.0
    """How long records wait for a version or label that is neither there nor on its way."""
    breaker_window_records: Count = 1000
    """The newest records over which the share of dead letters is taken."""
    max_dead_letter_share: Share = 0.5
    """Consumption is paused when more than this share of the window is dead letters; 1 never."""
    max_retry_pause_seconds: PositiveSeconds = 10.0
    """The longest pause between tries while a store, a servable or the broker is away."""


class LimitsConfig(ConfigTable, frozen=True):
    """[limits]: what one record may ask for; the dead letter of one above it names the key."""

    max_headers: Count = 1000
    """The most headers of a record."""
    max_header_bytes: Count = 256 * 1024
    """The most bytes of their names and values."""
    max_name_bytes: Count = 1024
    """The longest name: of a servable, a label, a signature or a tensor."""
    max_inputs: Count = 1000
    """The most tensors of a PredictRequest, and the most entries of its output_filter."""
    max_dimensions: Annotated[int, Meta(ge=1, le=64)] = 64
    """The most dimensions of a tensor in a PredictRequest."""
    max_nesting_depth: Annotated[int, Meta(ge=1, le=64)] = 64
    """How deep lists and objects may be nested in JSON."""
    max_unfolded_bytes: Count = 64 * 1024 * 1024
    """The most memory of tensors that say one value for many: a few bytes may declare any shape."""
    max_metadata_bytes: Count = 1024 * 1024
    """The most bytes of a record's metadata in the store."""


class HttpConfig(ConfigTable, frozen=True):
    """[http]: metrics, health and the servables' status."""

    host: str = "127.0.0.1"
    """The address to listen on; "0.0.0.0" where Prometheus comes from outside."""
    port: Annotated[int, Meta(ge=-1, le=65_535)] = 0
    """0 takes a free one, -1 switches the server off."""


class LoggingConfig(ConfigTable, frozen=True):
    """[logging]: what is written to standard error."""

    level: LogLevel = LogLevel.INFO
    """The least severe events that are logged."""
    format: LogFormat = LogFormat.TEXT
    """One event a line: words and key=value, or a JSON object."""


class WorkerConfig(ConfigTable, frozen=True):
    """Everything a worker is told."""

    HIDDEN = frozenset({"bodies"})

    topics: TopicsConfig
    servables: tuple[ServedConfig, ...]
    models: ModelsConfig = ModelsConfig()
    kafka: KafkaConfig = KafkaConfig()
    metadata: MetadataConfig = MetadataConfig()
    batching: BatchingConfig = BatchingConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    limits: LimitsConfig = LimitsConfig()
    dataref: DatarefConfig = DatarefConfig()
    http: HttpConfig = HttpConfig()
    logging: LoggingConfig = LoggingConfig()
    bodies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Bodies of your own: a table `[bodies.NAME]` of options each. See [there](custom_body.md)."""
    model_config_file: str = ""
    """TF Serving's model_config_list text file, instead of (or beside) [[servables]]."""
    default_servable: str = ""
    """For records that name none; empty: the only servable there is."""
    startup_timeout_seconds: PositiveSeconds = 10.0
    """How long the broker and the store are waited for at the start, before giving up."""

    @property
    def dead_letter_topic(self) -> str:
        """Return where dead letters go."""
        return self.topics.dead_letter or f"{self.topics.input[0]}.dead-letter"

    @property
    def transaction_timeout_ms(self) -> int:
        """Return the producer's `transaction.timeout.ms`, the worker's own unless it is given.

        Where a worker is killed with a transaction open, others can read the group's offsets only
        when this is over; Kafka's default is a minute.
        """
        settings: dict[str, Any] = {**self.kafka.settings, **self.kafka.producer_settings}
        timeout_ms: int = settings.get("transaction.timeout.ms", 10_000)
        return timeout_ms
