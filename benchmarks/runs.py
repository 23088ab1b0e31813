"""One competitor's run: fresh topics, a fresh group, its process, and the results it gives."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.competitors import Competitor, Run
from benchmarks.servers import Servers, store_metadata
from benchmarks.topics import PARTITIONS, InputTopic, OutputTopic
from benchmarks.verify import Answers
from benchmarks.workload import Workload
from tests.support.kafka.topics import open_topics
from tests.support.processes.child_process import ChildProcess
from tests.support.servables.models import FEATURES, Network, export_networks
from tests.support.servables.onnx_files import network_model, save

WARM_UP_RECORDS = 256
START_LIMIT_SECONDS = 90.0
READ_SECONDS = 0.02
_READ_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    servers: Servers
    workload: Workload
    """The measured records, and behind them those to warm up with."""
    network: Network
    model_base_path: Path
    directory: Path
    warm_up_records: int = WARM_UP_RECORDS

    @classmethod
    def prepare(
        cls,
        servers: Servers,
        directory: Path,
        records: int,
        features: int = FEATURES,
        rows: int = 1,
        network: Network | None = None,
        warm_up_records: int = WARM_UP_RECORDS,
    ) -> "Bench":
        """Export the network for each kind, make the records and store their metadata."""
        network = network or Network(layers=(features, *Network().layers[1:]))
        model_base_path = directory / "network"
        export_networks(model_base_path, {1: network}, with_octets=True)
        save(network_model(network), model_base_path / "1")
        workload = Workload.make(records + warm_up_records, features, rows)
        store_metadata(servers.redis_url, workload)
        return cls(servers, workload, network, model_base_path, directory, warm_up_records)

    @property
    def measured(self) -> range:
        """Return the indexes of the records that are measured."""
        return range(len(self.workload.ids) - self.warm_up_records)

    @property
    def warm_up(self) -> range:
        """Return the indexes of the records before the measured ones."""
        return range(len(self.measured), len(self.workload.ids))


class Running:
    """A competitor that has started and answered its first records."""

    def __init__(
        self,
        bench: Bench,
        process: ChildProcess,
        source: InputTopic,
        results: OutputTopic,
        topics: tuple[str, str, str],
        *,
        reads_from_the_end: bool = False,
    ) -> None:
        self.process, self.source, self.results = process, source, results
        self.topics = topics
        self._reads_from_the_end = reads_from_the_end
        self._held_back: range = range(0)
        self.answers = Answers(bench.workload, bench.network)

    def read_until_complete(self, records: int, limit_seconds: float) -> None:
        """Read that many results more; AssertionError when they do not come in time."""
        deadline = time.monotonic() + limit_seconds
        complete = len(self.answers) + records
        while len(self.answers) < complete:
            self.answers.add(self.results.read(READ_SECONDS))
            self.check_alive()
            if time.monotonic() > deadline:
                missing = complete - len(self.answers)
                raise AssertionError(
                    f"{missing} results are missing after {limit_seconds} s\n"
                    f"{self.process.log_tail()}"
                )

    def hold_back(self, indexes: range) -> None:
        """Make records ready that `release` gives to the program."""
        self._held_back = indexes
        if not self._reads_from_the_end:
            self.source.write_held_back(indexes)

    def release(self) -> None:
        """Let the program find what was held back: all at once, or as fast as it is written."""
        if self._reads_from_the_end:
            self.source.write(self._held_back)
        else:
            self.source.release()

    def check_alive(self) -> None:
        """Raise AssertionError, with the end of its log, when the program has ended."""
        if not self.process.running:
            raise AssertionError(f"ended with {self.process.exit_code}\n{self.process.log_tail()}")


@contextmanager
def running(
    bench: Bench, competitor: Competitor, partitions: int = PARTITIONS
) -> Iterator[Running]:
    """Start a competitor in places of its own and give it once it is warm."""
    run_id = uuid.uuid4().hex[:8]
    directory = bench.directory / run_id
    directory.mkdir()
    run = Run(
        servers=bench.servers,
        input_topic=f"in-{run_id}",
        output_topic=f"out-{run_id}",
        group_id=f"group-{run_id}",
        model_base_path=bench.model_base_path,
        directory=directory,
    )
    program = competitor.program(run)
    bootstrap = bench.servers.bootstrap_servers
    source = InputTopic(bootstrap, run.input_topic, bench.workload, competitor.shape)
    with (
        open_topics(bootstrap, *run.topics, partitions=partitions),
        OutputTopic(bootstrap, run.output_topic, partitions) as results,
        ChildProcess(program.command, directory / "log", program.environment) as process,
    ):
        reads_from_the_end = competitor.reads_from_the_end
        started = Running(
            *(bench, process, source, results, run.topics), reads_from_the_end=reads_from_the_end
        )
        if reads_from_the_end:
            _wait_for_its_reading(bench, started)
        _warm_up(bench, started)
        started.answers.duplicates = 0
        yield started


def _warm_up(bench: Bench, started: Running) -> None:
    """Have the first records answered, some at a time: each servable gets as many calls or more."""
    for start in range(0, len(bench.warm_up), WARM_UP_RECORDS):
        part = bench.warm_up[start : start + WARM_UP_RECORDS]
        started.source.write(part)
        unanswered = start + len(part) - len(started.answers)
        started.read_until_complete(unanswered, START_LIMIT_SECONDS)


def _wait_for_its_reading(bench: Bench, started: Running) -> None:
    """Write a record again and again until one is answered: what came before is never read."""
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while not len(started.answers):
        started.source.write(bench.warm_up[:1])
        started.answers.add(started.results.read(_READ_AGAIN_SECONDS))
        started.check_alive()
        if time.monotonic() > deadline:
            raise AssertionError(f"has answered nothing\n{started.process.log_tail()}")
