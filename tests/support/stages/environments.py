"""What the parts of a worker share, for tests of single parts."""

import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from topicserve.worker.config.schema import TopicsConfig, WorkerConfig
from topicserve.worker.config.served import ServedConfig
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.runtime.retry import RetryLoop
from topicserve.worker.telemetry.metrics import WorkerMetrics

TOPICS = TopicsConfig(("in",), "out", "dead")


def an_environment(
    registry: CollectorRegistry | None = None,
    clock: Callable[[], float] = time.monotonic,
    topics: TopicsConfig = TOPICS,
    servables: tuple[ServedConfig, ...] = (),
    **config: Any,
) -> Environment:
    """Return the environment of worker-1, which reads `in` and writes `out`; it retries at once."""
    return Environment(
        WorkerConfig(topics, servables, **config),
        "worker-1",
        WorkerMetrics(registry or CollectorRegistry()),
        RetryLoop(max_pause_seconds=0.001),
        clock=clock,
        wall_clock=lambda: 1_700_000_002.5,
    )
