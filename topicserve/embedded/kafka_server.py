"""A Kafka-protocol broker in a process of its own, for development and tests."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from topicserve.embedded.kafka_broker.context import BrokerSettings
from topicserve.embedded.server_process import ServerProcess

_DEFAULTS = BrokerSettings()


class KafkaServer(ServerProcess):
    """Starts the broker on loopback; port 0 takes a free one.

    Without `data_dir` records live in memory, bounded by `retention_bytes` a partition. With it
    they survive the process, also when it is killed.
    """

    def __init__(
        self,
        port: int = 0,
        data_dir: Path | None = None,
        *,
        num_partitions: int = _DEFAULTS.num_partitions,
        auto_create_topics: bool = True,
        retention_bytes: int = _DEFAULTS.retention_bytes,
        max_message_bytes: int = _DEFAULTS.max_message_bytes,
    ) -> None:
        super().__init__("the embedded Kafka broker")
        self._port = port
        self._arguments = [
            f"--partitions={num_partitions}",
            f"--retention-bytes={retention_bytes}",
            f"--max-message-bytes={max_message_bytes}",
        ]
        if data_dir is not None:
            self._arguments.append(f"--data-dir={data_dir}")
        if not auto_create_topics:
            self._arguments.append("--no-auto-create-topics")
        self.bootstrap_servers = ""

    def _command(self) -> Sequence[str]:
        module = "topicserve.embedded.kafka_broker"
        return [sys.executable, "-m", module, f"--port={self._port}", *self._arguments]

    def _ready(self, line: bytes) -> None:
        self.bootstrap_servers = json.loads(line)["bootstrap_servers"]
        # Started again it listens where its clients look for it.
        self._port = int(self.bootstrap_servers.rpartition(":")[2])
