"""What every part of one worker shares.

Configuration, metrics, clocks, retries and the fatal error. It has no behaviour, and no stage is in
it: who needs a stage is given that stage.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.runtime.fatal_error import FatalError
from topicserve.worker.runtime.retry import RetryLoop
from topicserve.worker.runtime.stop_signals import StopTime
from topicserve.worker.telemetry.metrics import WorkerMetrics


@dataclass(frozen=True, slots=True)
class Environment:
    """One worker's configuration, metrics and clocks, and the ways in which it is stopped.

    Made once, by the service or by a test, and never changed; any thread may read it. The clocks
    are here so that a test can drive them.
    """

    config: WorkerConfig
    worker_id: str
    metrics: WorkerMetrics
    retry_loop: RetryLoop
    """Shut down at the end of the worker: whatever waits then raises ShutdownRequestedError."""
    fatal: FatalError = field(default_factory=FatalError)
    """What any thread reports that the worker must not survive."""
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    stop_time: StopTime = field(init=False)

    def __post_init__(self) -> None:
        """Give a stop the time that is configured."""
        seconds = self.config.delivery.shutdown_timeout_seconds
        object.__setattr__(self, "stop_time", StopTime(seconds, self.clock))
