"""Both embedded servers, for development and tests.

`topicserve stack`, the demo and the pytest plugin use this one class.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from topicserve.embedded.kafka_server import KafkaServer
from topicserve.embedded.redis_server import RedisServer


class Stack:
    """A Kafka-protocol and a Redis-protocol server on loopback, started and stopped as one.

        with Stack() as stack:
            run(stack.bootstrap_servers, stack.redis_url)

    A port of 0 takes a free one. With `data_dir` records and metadata survive a restart.
    """

    def __init__(
        self, data_dir: Path | None = None, *, kafka_port: int = 0, redis_port: int = 0
    ) -> None:
        self.kafka = KafkaServer(kafka_port, data_dir / "kafka" if data_dir else None)
        self.redis = RedisServer(redis_port, data_dir / "redis" if data_dir else None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """Return where the broker listens."""
        return self.kafka.bootstrap_servers

    @property
    def redis_url(self) -> str:
        """Return where the Redis server listens."""
        return self.redis.redis_url

    @property
    def running(self) -> bool:
        """Return whether both live."""
        return self.kafka.running and self.redis.running

    def start(self) -> None:
        """Start both; raises ServerStartError, with nothing left running."""
        try:
            self.kafka.launch()
            self.redis.launch()
            self.kafka.wait_until_ready()
            self.redis.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both."""
        self.redis.stop()
        self.kafka.stop()
