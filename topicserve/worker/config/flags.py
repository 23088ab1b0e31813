"""Which flags of `topicserve worker` stand for which keys of the configuration."""

from typing import NamedTuple


class Flag(NamedTuple):
    """One flag: what is typed, the key that it sets, and what --help says."""

    name: str
    key: str
    metavar: str
    help: str
    repeated: bool = False


FLAGS = (
    Flag("--bootstrap-servers", "kafka.bootstrap_servers", "H:P", "where to find the cluster"),
    Flag("--client", "kafka.client", "NAME", "kafka-python or confluent"),
    Flag("--group", "kafka.group_id", "G", "the consumer group"),
    Flag(
        "--group-instance-id", "kafka.group_instance_id", "ID", "static membership of this replica"
    ),
    Flag("--input-topic", "topics.input", "T", "a topic to read; may be repeated", repeated=True),
    Flag("--output-topic", "topics.output", "T", "where results go"),
    Flag("--dead-letter-topic", "topics.dead_letter", "T", "where records given up go"),
    Flag("--shadow-topic", "topics.shadow", "T", "where a shadow version's differences go"),
    Flag(
        "--create-topics",
        "topics.create_partitions",
        "PARTITIONS",
        "create topics that are missing; without it a missing topic is an error",
    ),
    Flag("--redis-url", "metadata.redis_url", "URL", "the metadata store"),
    Flag("--key-prefix", "metadata.key_prefix", "TEXT", "what stands before the id in its keys"),
    Flag(
        "--servable",
        "servables",
        "NAME=BASE_PATH",
        "a servable and where its versions lie; may be repeated",
        repeated=True,
    ),
    Flag("--model-config-file", "model_config_file", "FILE", "TF Serving's model_config_list"),
    Flag("--default-servable", "default_servable", "NAME", "for records that name none"),
    Flag("--max-batch-size", "batching.max_batch_size", "ROWS", "the most rows in a batch"),
    Flag(
        "--batch-timeout-seconds",
        "batching.batch_timeout_seconds",
        "S",
        "how long a batch may wait for more rows",
    ),
    Flag("--guarantee", "delivery.guarantee", "NAME", "at_least_once or exactly_once"),
    Flag(
        "--startup-timeout-seconds",
        "startup_timeout_seconds",
        "S",
        "how long to wait for broker and store",
    ),
    Flag(
        "--shutdown-timeout-seconds",
        "delivery.shutdown_timeout_seconds",
        "S",
        "how long a stop may take",
    ),
    Flag("--http-host", "http.host", "HOST", "the address to listen on"),
    Flag("--http-port", "http.port", "P", "0 takes a free one, -1 none"),
    Flag("--log-level", "logging.level", "LEVEL", "debug, info, warning or error"),
    Flag("--log-format", "logging.format", "FORMAT", "text or json"),
)

FLAG_BY_KEY = {flag.key: flag.name for flag in FLAGS}
