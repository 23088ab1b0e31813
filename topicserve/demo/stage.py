"""What the demo's story moves: releases, worker processes and traffic, watched while it waits."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.demo.deployment import DemoTopics, Servers, worker_config
from topicserve.demo.digits import Digits, Network
from topicserve.demo.errors import DemoError
from topicserve.demo.ledger import DemoLedger
from topicserve.demo.memory import PeakMemory
from topicserve.demo.releases import NETWORK, Releases
from topicserve.demo.screen import Screen
from topicserve.demo.traffic import SERVABLE, SOURCE, Traffic
from topicserve.demo.workers import WorkerProcess
from topicserve.producer.record_producer import RecordProducer
from topicserve.producer.result_reader import DeadLetterReader, ResultReader

WAIT_SECONDS = 60.0
# So many results of one worker and version show that it serves, not just that it started.
ENOUGH_ANSWERS = 200
_LOOK_SECONDS = 0.1
_DEAD_LETTER_SECONDS = 10.0
# Publishing, reading, and whatever the story lets run meanwhile.
_THREADS = 3


class Stage:
    """One run's moving parts. The story calls it from one thread; leaving it stops everything."""

    def __init__(
        self,
        servers: Servers,
        topics: DemoTopics,
        digits: Digits,
        models: Path,
        logs: Path,
        records_per_second: float,
        screen: Screen,
    ) -> None:
        self.ledger = DemoLedger()
        self.memory = PeakMemory()
        self.given_up: list[str] = []
        self._servers = servers
        self._topics = topics
        self._digits = digits
        self._logs = logs
        self._screen = screen
        self._releases = Releases(models)
        self._config_path = models / "worker.toml"
        self._config_path.write_text(worker_config(servers, topics, self._releases.servables()))
        self._traffic = Traffic(digits, self.ledger, records_per_second)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="demo")
        self._workers: list[WorkerProcess] = []
        self._publishing: Future[None] | None = None
        self._reading: Future[None] | None = None

    def release(self, version: int, network: Network) -> None:
        """Export a version, and let it answer once every worker has loaded it."""
        self.ledger.expected[version] = network.probabilities(self._digits.pixels)
        self._finish_meanwhile(
            f"the export of version {version}",
            lambda: self._releases.release_network(version, network),
        )
        self.wait_until(
            f"the workers to load {NETWORK} version {version}",
            lambda: all(worker.serves(NETWORK, version) for worker in self._workers),
        )
        self._releases.release_pipeline(version)

    def start_workers(self, count: int) -> Sequence[WorkerProcess]:
        """Start workers of one group and the reading, and return when all are ready."""
        self._reading = self._threads.submit(self._read)
        for number in range(1, count + 1):
            worker_id = f"worker-{number}"
            worker = WorkerProcess(self._config_path, worker_id, self._logs / f"{worker_id}.log")
            self._workers.append(worker)
            worker.start()
        self.wait_until(
            "the workers to be ready", lambda: all(worker.ready for worker in self._workers)
        )
        return tuple(self._workers)

    def start_publishing(self) -> None:
        """Publish from now on, pass after pass."""
        self._publishing = self._threads.submit(self._publish)

    def kill(self, worker: WorkerProcess) -> None:
        """Kill a worker with SIGKILL."""
        worker.kill()
        self._workers.remove(worker)

    def wait_for_answers(self, workers: Sequence[WorkerProcess], version: int) -> None:
        """Wait until each of these workers has answered enough with this version."""
        answered = self.ledger.answered
        self.wait_until(
            f"{len(workers)} workers to answer with version {version}",
            lambda: all(answered[w.worker_id, version] >= ENOUGH_ANSWERS for w in workers),
        )

    def wait_for_records(self, count: int) -> None:
        """Wait until so many more records have been published."""
        enough = self.ledger.published + count
        self.wait_until(
            f"{count:,} more records to be published", lambda: self.ledger.published >= enough
        )

    def finish(self) -> None:
        """Publish to the end of the pass, and read until nothing is owed or none comes any more."""
        self._traffic.finish()
        publishing = self._publishing
        assert publishing is not None
        self.wait_until("the last record to be published", publishing.done)
        self._wait("the last result", lambda: self.ledger.owed == 0, WAIT_SECONDS)
        with DeadLetterReader(self._servers.consumer(), self._topics.dead_letter) as reader:
            letters = reader.read(until_end=True, timeout_seconds=_DEAD_LETTER_SECONDS)
            self.given_up = [f"{letter.reason.value}: {letter.message}" for letter in letters]

    def wait_until(
        self, what: str, condition: Callable[[], bool], limit_seconds: float = WAIT_SECONDS
    ) -> None:
        """Wait, showing counts; raises DemoError when the time runs out or a part has failed."""
        if not self._wait(what, condition, limit_seconds):
            raise DemoError(f"waited {limit_seconds:g} s for {what}; {self._counts()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._traffic.stop()
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.wait()
        self._threads.shutdown()

    def _wait(self, what: str, condition: Callable[[], bool], limit_seconds: float) -> bool:
        deadline = time.monotonic() + limit_seconds
        while not condition():
            self._check_parts()
            self._screen.show(self._counts() if self.ledger.published else f"waiting for {what}")
            self.memory.look()
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def _finish_meanwhile(self, what: str, work: Callable[[], None]) -> None:
        """Do work in another thread while the counts go on."""
        doing = self._threads.submit(work)
        self.wait_until(what, doing.done)
        doing.result()

    def _check_parts(self) -> None:
        """Raise what ended a worker or a thread before its time."""
        for worker in self._workers:
            worker.check()
        for part in (self._publishing, self._reading):
            if part is not None and part.done():
                part.result()

    def _counts(self) -> str:
        ledger = self.ledger
        return (
            f"published {ledger.published:,}  results {len(ledger.answers):,}  "
            f"in progress {ledger.owed:,}  duplicates {ledger.duplicates:,}  wrong {ledger.wrong:,}"
        )

    def _publish(self) -> None:
        producer = RecordProducer(
            self._servers.broker().producer(),
            RedisMetadataStore(self._servers.redis_url),
            self._topics.input,
            servable=SERVABLE,
            source=SOURCE,
            timeout_seconds=WAIT_SECONDS,
        )
        with producer:
            self._traffic.publish(producer)

    def _read(self) -> None:
        with ResultReader(self._servers.consumer(), self._topics.output) as reader:
            self._traffic.read(reader)
