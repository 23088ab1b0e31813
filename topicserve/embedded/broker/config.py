"""The embedded broker's settings, with the names of Kafka's own."""

from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """What the broker can be told; names follow Kafka's own settings.

    `retention_bytes` bounds the records of all partitions together: when there are more, the oldest
    segment of the largest partition goes. A topic's own `retention.bytes` bounds each of its
    partitions, as in Kafka.
    """

    port: int = 0
    data_dir: Path | None = None
    num_partitions: int = 4
    auto_create_topics: bool = True
    retention_bytes: int = 1024 * MEBIBYTE
    message_max_bytes: int = MEBIBYTE + 12  # Kafka's default
    initial_rebalance_delay_seconds: float = 0.15
    """How long a new group waits for more members (three seconds in Kafka).

    Longer than kafka-python's 0.1 seconds between two requests for metadata: a leader that has to
    assign before it knows the topic assigns nothing, and does not notice when it knows.
    """

    @property
    def segment_bytes(self) -> int:
        """Return how large a segment gets: small beside what is kept, for it goes as a whole."""
        return max(1, min(16 * MEBIBYTE, self.retention_bytes // 16))

    @property
    def request_max_bytes(self) -> int:
        """Return how large a request may be: Kafka's limit, or one record batch and its frame."""
        return max(100 * MEBIBYTE, self.message_max_bytes + MEBIBYTE)
