"""A group of worker processes with topics of its own, on a Kafka and a Redis that a test brings."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.kafka.topics import open_topics
from tests.support.processes.worker_process import WorkerProcess
from tests.support.traffic.accounts import Sent, Topics, Traffic
from topicserve.wire.result import Result

Tables = Mapping[str, Mapping[str, Any]]

SHARED_LIMIT_SECONDS = 60.0


class Deployment:
    """Workers of one group and their traffic; leaving the context ends all of it.

    `tables` are laid over the configuration of every worker, as the TOML file has them. `check` is
    called with every result and the record that it answers.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        redis_url: str,
        directory: Path,
        servables: Sequence[Mapping[str, Any]],
        check: Callable[[Sent, Result], None],
        tables: Tables | None = None,
        partitions: int = 4,
        replication_factor: int = 1,
    ) -> None:
        self.topics = Topics.fresh()
        self.group_id = f"group-{self.topics.input}"
        self.workers: list[WorkerProcess] = []
        self._bootstrap_servers, self._redis_url = bootstrap_servers, redis_url
        self._directory, self._servables, self._check = directory, servables, check
        self._tables = tables or {}
        self._partitions, self._replication_factor = partitions, replication_factor
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        topics = self.topics
        self._opened.enter_context(
            open_topics(
                self._bootstrap_servers,
                *(topics.input, topics.output, topics.dead_letter),
                partitions=self._partitions,
                replication_factor=self._replication_factor,
            )
        )
        self.traffic = self._opened.enter_context(
            Traffic(self._bootstrap_servers, self._redis_url, topics, self._check, self.logs)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.kill()
        # pytest shows this where the test has failed.
        print(self.traffic.summary())
        print(self.logs())
        self._opened.close()

    def worker(self, tables: Tables | None = None) -> WorkerProcess:
        """Return one worker more, not yet started; its tables are laid over the group's."""
        worker_id = f"worker-{len(self.workers)}"
        config = _overlaid(_overlaid(self._config(), self._tables), tables or {})
        worker = WorkerProcess(config, self._directory, worker_id)
        self.workers.append(worker)
        return worker

    def static_worker(self) -> WorkerProcess:
        """Return one worker more, which keeps its membership over restarts."""
        return self.worker({"kafka": {"group_instance_id": f"instance-{len(self.workers)}"}})

    def start(self, *workers: WorkerProcess) -> None:
        """Start these workers together and wait until all are ready."""
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_ready()

    def wait_shared(self, *workers: WorkerProcess) -> None:
        """Wait until each of these workers has partitions, so that the group is at rest."""
        self.traffic.until(
            lambda: all(worker.metric("topicserve_assigned_partitions") for worker in workers),
            SHARED_LIMIT_SECONDS,
        )

    def logs(self) -> str:
        """Return the ends of all workers' logs."""
        return "\n".join(worker.log_tail() for worker in self.workers)

    def _config(self) -> dict[str, Any]:
        return {
            "kafka": {"bootstrap_servers": self._bootstrap_servers, "group_id": self.group_id},
            "topics": {
                "input": [self.topics.input],
                "output": self.topics.output,
                "dead_letter": self.topics.dead_letter,
            },
            "metadata": {"redis_url": self._redis_url},
            "servables": list(self._servables),
        }


def _overlaid(config: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    return {**config, **{name: {**config.get(name, {}), **table} for name, table in tables.items()}}
