"""One replica of a replay: a worker that reads a range, counts what becomes of it, and ends.

It is the service of a worker with other ends: a range in place of a subscription, and an account
beside the offsets.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from topicserve.backends.broker import Broker, Consumer, Producer
from topicserve.servables.core.errors import NotFoundError, ServableError
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.server.server_core import ServerCore
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.config.schema import Guarantee, WorkerConfig
from topicserve.worker.parts import Stages
from topicserve.worker.replay.ledger import Ledger
from topicserve.worker.replay.ledger_producer import LedgerProducer
from topicserve.worker.replay.progress_note import Ranges
from topicserve.worker.replay.range_consumer import RangeConsumer
from topicserve.worker.replay.stages import ReplayDecoder, ReplayEncoder
from topicserve.worker.service import WorkerService
from topicserve.worker.telemetry.kafka_metrics import DELETED_RECORDS

_LOOK_SECONDS = 0.1
_LOADING = (ManagerState.START, ManagerState.LOADING)


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """What is replayed, and how."""

    job: str
    """Says which command this is; the same for all of its replicas."""
    ranges: Ranges
    servable: str = ""
    """Whose records are replayed; empty: those of all servables."""
    version: int | None = None
    """The version that answers every record; None: as the records and the configuration say."""
    is_wanted: Callable[[KafkaRecord], bool] = lambda _: True


class ReplayService(WorkerService):
    """A worker of a replay's group; see WorkerService for how it runs."""

    def __init__(self, config: WorkerConfig, worker_id: str, job: ReplayJob) -> None:
        super().__init__(config, worker_id)
        self._job = job
        self._ledger = Ledger()
        self.stages: Stages | None = None
        """Once they are open."""

    @property
    def deleted_records(self) -> int:
        """Return how many records retention has deleted before this replica could read them."""
        (topic,) = self._config.topics.input
        found = self._registry.get_sample_value(f"{DELETED_RECORDS}_total", {"topic": topic})
        return int(found or 0)

    def _open_core(self, opened: ExitStack) -> ServerCore:
        core = super()._open_core(opened)
        job = self._job
        if job.version is not None:
            seconds = self._config.startup_timeout_seconds
            wait_available(core, job.servable, job.version, seconds)
        return core

    def _open_consumer(self, broker: Broker) -> Consumer:
        job = self._job
        consumer = super()._open_consumer(broker)
        return RangeConsumer(consumer, self._ledger, job.job, job.ranges, job.is_wanted)

    def _open_producer(self, broker: Broker, batches: Mapping[str, object]) -> Producer:
        guarantee = self._config.delivery.guarantee
        return LedgerProducer(
            super()._open_producer(broker, batches),
            self._ledger,
            is_transactional=guarantee is Guarantee.EXACTLY_ONCE,
        )

    def _open_stages(self, core: ServerCore, opened: ExitStack) -> Stages:
        stages = super()._open_stages(core, opened)
        version_is_given = self._job.version is not None
        intake, output = stages.intake, stages.output
        intake.decoder = ReplayDecoder(intake.decoder, version_is_given=version_is_given)
        if intake.fetcher is not None:
            threads = intake.fetcher.threads
            threads.decoder = ReplayDecoder(threads.decoder, version_is_given=version_is_given)
        if intake.asker is not None:
            asker = intake.asker
            asker.decoder = ReplayDecoder(asker.decoder, version_is_given=version_is_given)
        output.encoder = ReplayEncoder(output.encoder, self._config.kafka.group_id)
        self.stages = stages
        return stages


def wait_available(
    core: ServerCore,
    name: str,
    version: int,
    unknown_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Any] = time.sleep,
) -> None:
    """Wait until a version is loaded. Raises ServableError where it cannot be.

    One that is loading is waited for, for as long as that takes; one that is not, for
    `unknown_seconds`: a version that was just written is loaded once it is seen to be complete.
    """
    request = ServableRequest.specific(name, version)
    give_up_at = clock() + unknown_seconds
    while True:
        try:
            with core.get_servable_handle(request):
                return
        except ServableError:
            state = core.monitor.versions(name).get(version)
            is_loading = state is not None and state.manager_state in _LOADING
            if not is_loading and clock() >= give_up_at:
                problem = core.problem(name) or "is not under its base path, or not complete yet"
                raise NotFoundError(f"servable {name}: version {version}: {problem}") from None
            sleep(_LOOK_SECONDS)
