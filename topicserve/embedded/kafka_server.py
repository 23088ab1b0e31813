"""A Kafka-protocol broker in a process of its own, for development and tests.

This is the parent's side; `topicserve.embedded.broker` is the program that it starts.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from topicserve.embedded.broker.config import BrokerConfig
from topicserve.embedded.server_process import ServerProcess

_DEFAULTS = BrokerConfig()


class KafkaServer(ServerProcess):
    """Starts the broker on loopback; port 0 takes a free one, which it keeps when started again.

        with KafkaServer() as kafka:
            consumer = KafkaConsumer("topic", bootstrap_servers=kafka.bootstrap_servers)

    Records live in memory, `retention_bytes` of them over all partitions. With `data_dir` whatever
    was acknowledged survives the process, also when it is killed. Topics that are asked for are
    created with `num_partitions`, unless `auto_create_topics` is false. Batches larger than
    `message_max_bytes` are refused, where a topic has no `max.message.bytes` of its own.
    """

    def __init__(
        self,
        port: int = 0,
        data_dir: Path | None = None,
        *,
        num_partitions: int = _DEFAULTS.num_partitions,
        auto_create_topics: bool = True,
        retention_bytes: int = _DEFAULTS.retention_bytes,
        message_max_bytes: int = _DEFAULTS.message_max_bytes,
    ) -> None:
        super().__init__("the embedded Kafka broker")
        self._port = port
        self._arguments = [
            "--end-with-stdin",
            f"--num-partitions={num_partitions}",
            f"--retention-bytes={retention_bytes}",
            f"--message-max-bytes={message_max_bytes}",
        ]
        if data_dir is not None:
            self._arguments.append(f"--data-dir={data_dir}")
        if not auto_create_topics:
            self._arguments.append("--no-auto-create-topics")
        self.bootstrap_servers = ""

    def _command(self) -> Sequence[str]:
        module = "topicserve.embedded.broker"
        return [sys.executable, "-m", module, f"--port={self._port}", *self._arguments]

    def _ready(self, line: bytes) -> None:
        self.bootstrap_servers = json.loads(line)["bootstrap_servers"]
        self._port = int(self.bootstrap_servers.rpartition(":")[2])
