"""What traces cost a worker: the whole pipeline on a broker in memory, with and without spans.

    python -m benchmarks.traces [--records 20000] [--rounds 5]

Prints the CPU microseconds a record, the least of the rounds, which take turns. Kafka's clients and
a real model come on top, and are the same each time.
"""

import argparse
import gc
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.traced_worker import discarding_provider
from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog
from tests.support.stages.records import a_kafka_record
from tests.worker.test_pipeline import PARTITIONS, World
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.worker.config.schema import BatchingConfig, Guarantee

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_WAYS: Mapping[str, int | None] = {
    "no SDK": None,
    "an SDK, no record sampled": 0,
    "an SDK, 1 record in 100 sampled": 100,
    "an SDK, every record sampled": 1,
}


class BacklogConsumer(MemoryConsumer):
    """Polls a backlog by slices: the usual double looks through all records each time."""

    def __init__(self, log: MemoryLog, backlog: Mapping[TopicPartition, list[KafkaRecord]]) -> None:
        super().__init__(log)
        self._backlog = backlog

    def poll(self, timeout_seconds: float, max_records: int) -> list[KafkaRecord]:  # noqa: ARG002
        """Return the next records of each partition that is not paused."""
        self.before_poll()
        found: list[KafkaRecord] = []
        for partition in self.positions.keys() - self.paused:
            start = self.positions[partition]
            taken = self._backlog[partition][start : start + max_records // len(PARTITIONS)]
            self.positions[partition] = start + len(taken)
            found += taken
        return found


def main() -> None:
    """Measure all ways in turns, and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    least = dict.fromkeys(_WAYS, float("inf"))
    rounds = [way for _ in range(arguments.rounds) for way in _WAYS]
    for way in track(rounds, console=Console(stderr=True)):
        least[way] = min(least[way], cpu_us(arguments.records, _WAYS[way]))
    table = Table("worker", "CPU us a record", "of it for traces")
    for way, cost in least.items():
        table.add_row(way, f"{cost:.2f}", f"{cost - least['no SDK']:.2f}")
    Console().print(table)


def cpu_us(count: int, sampled_every: int | None) -> float:
    """Return what a record takes; None stands for no SDK, 0 for records that are not sampled."""
    backlog = {
        partition: [
            a_kafka_record(
                offset,
                float(offset % 97),
                partition=partition.partition,
                headers=_trace(offset, sampled_every),
            )
            for offset in range(count // len(PARTITIONS))
        ]
        for partition in PARTITIONS
    }
    provider = None
    if sampled_every is not None:
        provider = discarding_provider()
    total = sum(map(len, backlog.values()))
    world = World(
        [],
        Guarantee.AT_LEAST_ONCE,
        consumer=lambda log: BacklogConsumer(log, backlog),
        batching=BatchingConfig(),
        commit_interval_seconds=0.5,
        tracer_provider=provider,
    )
    world.consumer.before_poll = lambda: _assign_once(world)
    world.stages.output.delivery.start(1)
    gc.collect()
    started = time.process_time()
    world.pipeline.run(lambda: len(world.log.published) >= total)
    used = time.process_time() - started
    world.stages.output.delivery.close(1)
    if provider is not None:
        provider.shutdown()
    return used / total * 1e6


def _assign_once(world: World) -> None:
    if not world.consumer.positions:
        world.consumer.assign(*PARTITIONS)


def _trace(offset: int, sampled_every: int | None) -> list[tuple[str, bytes]]:
    is_sampled = bool(sampled_every) and offset % (sampled_every or 1) == 0
    return [("traceparent", f"00-{_TRACE}-{offset + 1:016x}-0{int(is_sampled)}".encode())]


if __name__ == "__main__":
    main()
