"""A process that behaves as a worker does towards its supervisor, and serves nothing.

`python -m tests.support.processes.stub_replica NUMBER`
"""

import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.stages.status import NoStatus
from topicserve.servables.core.errors import NotFoundError
from topicserve.worker.config.schema import HttpConfig
from topicserve.worker.http.server import HttpServer
from topicserve.worker.runtime.stop_signals import stop_at_end_of, stop_signals
from topicserve.worker.telemetry.metrics import WorkerMetrics, new_registry


class AllWell:
    """Health and status of a worker that has nothing to say."""

    def live(self) -> Sequence[str]:
        return []

    def ready(self) -> Sequence[str]:
        return []

    def servable_names(self) -> Sequence[str]:
        return []

    def model_status(self, name: str) -> Mapping[str, Any]:
        raise NotFoundError(f"Could not find any versions of model {name}")

    def model_metadata(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Mapping[str, Any]:
        raise NotFoundError(f"{name} {version} {label}")

    def labels(self, name: str) -> Mapping[str, int]:
        raise NotFoundError(name)


def main() -> None:
    """Answer on a free port until SIGTERM, or until standard input ends."""
    registry = new_registry()
    WorkerMetrics(registry).records_consumed.labels("digits").inc(int(sys.argv[1]) + 1)
    stop = threading.Event()
    stop_at_end_of(sys.stdin.fileno(), stop)
    with stop_signals(stop):
        server = HttpServer(HttpConfig(), registry, AllWell(), AllWell(), NoStatus())
        print(server.start(), flush=True)
        stop.wait()
        server.close()


if __name__ == "__main__":
    main()
