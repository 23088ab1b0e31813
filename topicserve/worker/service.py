"""A worker process: opens the connections, runs the pipeline, and takes all down in order.

The only module that puts HTTP, the servable core and the pipeline together. Stages are built by
`assembly.py`, which tests use with fakes in place of the connections.
"""

import gc
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from topicserve.backends.broker import Broker, Consumer, Producer
from topicserve.backends.errors import BackendUnavailableError, FencedError
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.exit_codes import EXIT_BREAKER_OPEN, EXIT_FAILED, EXIT_OK
from topicserve.servables.server.server_core import ServerCore
from topicserve.worker.assembly import Connections, build_stages
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.config.shown import shown_configuration
from topicserve.worker.health.broker_watch import BrokerWatch
from topicserve.worker.health.guarding import swap_guard
from topicserve.worker.http.server import HttpServer
from topicserve.worker.parts import Inference, Stages
from topicserve.worker.pipeline import Pipeline
from topicserve.worker.readiness import WorkerHealth
from topicserve.worker.runtime.body_stores import prepare_stores
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.runtime.kafka_settings import (
    consumer_settings,
    open_workers_broker,
    producer_settings,
    shadow_producer_settings,
)
from topicserve.worker.runtime.metadata_cleaner import MetadataCleaner
from topicserve.worker.runtime.models import open_core
from topicserve.worker.runtime.retry import RetryLoop, ShutdownRequestedError
from topicserve.worker.runtime.served import ServedVersions
from topicserve.worker.runtime.stop_watchdog import (
    CLOSE_SECONDS,
    frozen_limit_seconds,
    stop_watchdog,
)
from topicserve.worker.runtime.topic_limit import TopicLimits, batch_settings
from topicserve.worker.stages.shadow import Shadow
from topicserve.worker.status.report import StatusReport, Watched
from topicserve.worker.telemetry.event_log import log_version
from topicserve.worker.telemetry.logging import log_event
from topicserve.worker.telemetry.metrics import WorkerMetrics, new_registry
from topicserve.worker.telemetry.servable_metrics import ServableMetrics
from topicserve.worker.tracing.opening import Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

START_TIMEOUT_SECONDS = 60.0
CLOSE_TIMEOUT_SECONDS = 5.0
# How long servables are closed while a call of one goes on that the stop has given up.
GIVEN_UP_SECONDS = 0.5
LIMIT_TIMEOUT_SECONDS = 5.0

# Records are made and dropped by the thousand and hold no cycles. Python looks for some whenever so
# many more objects live than at the last look, and as many may be in progress: its default of 700
# costs a tenth of a worker's time and finds nothing, 50,000 still a twentieth.
GC_THRESHOLD = (500_000, 50, 100)


def exit_code_of(run: Callable[[], None]) -> int:
    """Run a worker to its end, and return the exit code; what it fails at is logged."""
    try:
        run()
    except ShutdownRequestedError:
        return EXIT_FAILED
    except FencedError as error:
        # Expected where another process has the same name: it needs no traceback.
        log_event("worker_fenced", logging.ERROR, problem=str(error))
        return EXIT_FAILED
    # Whatever ended a thread of the worker, SystemExit included, is told with its traceback.
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
        log_event("worker_failed", logging.ERROR, problem=problem, traceback_of=error)
        return EXIT_FAILED
    return EXIT_OK


class WorkerService:
    """One worker of the group. Building it touches nothing; `run` does all, once."""

    def __init__(
        self,
        config: WorkerConfig,
        worker_id: str,
        tracer_provider: "TracerProvider | None" = None,
    ) -> None:
        """Prepare a worker; it is traced by the provider given, or by the configured one."""
        self._config = config
        self._registry = new_registry()
        self._metrics = WorkerMetrics(self._registry)
        self._environment = Environment(
            config,
            worker_id,
            self._metrics,
            RetryLoop(config.delivery.max_retry_pause_seconds),
        )
        self._limits = TopicLimits.of(config)
        self._build: dict[str, Any] = {
            "release": version("topicserve"),
            "worker_id": worker_id,
            "group": config.kafka.group_id,
            "client": config.kafka.client.value,
            "guarantee": config.delivery.guarantee.value,
        }
        self._metrics.build.info(self._build)
        self._metrics.expect_topics(config.topics.input)
        self._guard = swap_guard(config, self._metrics)
        self._tracing = Tracing(self._environment, tracer_provider)
        self._inference: Inference | None = None

    def run(self, stop: threading.Event, on_ready: Callable[[str], None]) -> int:
        """Serve until `stop` is set; return the exit code.

        `on_ready` is called once with the HTTP address, before the first record is polled. Raises
        BackendError, ServableError or OSError for what cannot be opened at the start.
        """
        delivery = self._config.delivery
        watchdog = stop_watchdog(
            stop,
            delivery.shutdown_timeout_seconds + CLOSE_SECONDS,
            frozen_seconds=frozen_limit_seconds(delivery),
        )
        with watchdog as serving, ExitStack() as opened:
            core = self._open_core(opened)
            stages = self._open_stages(core, opened)
            self._inference = stages.inference
            watch = self._watch_broker(stages, opened)
            health = WorkerHealth(
                stages,
                ServedVersions(core).unavailable,
                delivery.stall_timeout_seconds,
                core.problem,
                watch.problem,
            )
            status = self._open_status(stages, core, health, watch, opened)
            http = HttpServer(self._config.http, self._registry, health, core, status)
            address = http.start()
            opened.callback(http.close)
            self._log_start(address)
            on_ready(address)
            serving()
            code = self._serve(self._tracing.pipeline(stages), stop)
            if code == 0 and stages.oversight.breaker.open:
                code = EXIT_BREAKER_OPEN
        log_event("worker_stopped", exit_code=code)
        return code

    def _open_status(
        self,
        stages: Stages,
        core: ServerCore,
        health: WorkerHealth,
        watch: BrokerWatch,
        opened: ExitStack,
    ) -> StatusReport:
        status = StatusReport(
            Watched(
                config=self._config,
                build=self._build,
                health=health,
                core=core,
                dead_letters=stages.oversight.dead_letters,
                metrics=self._metrics,
                predictions=stages.inference.watch,
                turn_seconds=stages.oversight.stall_detector.turn_seconds,
                unanswered_seconds=watch.unanswered_seconds,
                configuration=shown_configuration(self._config),
            )
        )
        if self._config.http.port >= 0:  # or else there is no one to show it to
            status.start()
            opened.callback(status.close)
        return status

    def _log_start(self, address: str) -> None:
        fields: dict[str, Any] = {"address": address, "topics": ",".join(self._config.topics.input)}
        log_event("worker_started", **fields, **self._build)

    def _serve(self, pipeline: Pipeline, stop: threading.Event) -> int:
        gc.collect()
        gc.freeze()  # what is loaded by now stays; collections need not look at it again
        gc.set_threshold(*GC_THRESHOLD)
        try:
            return exit_code_of(lambda: pipeline.run(stop.is_set))
        finally:
            stop.set()  # whatever ended it: what follows is the stop, which has its time

    def _open_stages(self, core: ServerCore, opened: ExitStack) -> Stages:
        metadata = self._config.metadata
        store = RedisMetadataStore(
            metadata.redis_url,
            key_prefix=metadata.key_prefix,
            ttl_seconds=metadata.ttl_seconds,
            timeout_seconds=metadata.timeout_seconds,
        )
        opened.callback(store.close)
        cleaner = MetadataCleaner(store) if metadata.delete_after_publish else None
        if cleaner is not None:
            cleaner.start()
            opened.callback(cleaner.close, CLOSE_TIMEOUT_SECONDS)
        broker = open_workers_broker(self._config, self._environment.worker_id)
        consumer = self._open_consumer(broker)
        # Taken down in the reverse order: the producer ends first, since a member that leaves the
        # group while it still publishes would publish what is another's by then.
        opened.callback(consumer.close, CLOSE_TIMEOUT_SECONDS)
        _ask_at_start(broker, self._limits)
        producer = self._open_producer(broker, batch_settings(self._limits))
        stages = build_stages(
            self._environment,
            self._tracing.connections(Connections(consumer, producer, store, cleaner)),
            ServedVersions(core),
            self._guard,
            self._limits,
        )
        prepare_stores(self._config.dataref)
        if stages.intake.fetcher is not None:
            opened.callback(stages.intake.fetcher.close)
        if stages.output.large is not None:
            opened.callback(stages.output.large.close)
        stages.inference.shadow = self._open_shadow(core, broker, opened)
        opened.callback(stages.output.delivery.close, CLOSE_TIMEOUT_SECONDS)
        opened.callback(
            self._environment.retry_loop.shut_down
        )  # before all: anyone who waits, waits no longer
        stages.output.delivery.start(START_TIMEOUT_SECONDS)
        return stages

    def _watch_broker(self, stages: Stages, opened: ExitStack) -> BrokerWatch:
        watch = BrokerWatch(
            self._environment,
            open_workers_broker(self._config, self._environment.worker_id).admin,
            stages.intake.tracker,
            stages.intake.flow,
            self._limits,
        )
        watch.start()
        opened.callback(watch.close, CLOSE_TIMEOUT_SECONDS)
        return watch

    def _open_shadow(self, core: ServerCore, broker: Broker, opened: ExitStack) -> Shadow | None:
        if not any(entry.shadow for entry in self._config.servables):
            return None
        # A producer of its own: what a shadow says must be part of no transaction.
        producer = broker.producer(shadow_producer_settings(self._config))
        opened.callback(producer.close, CLOSE_TIMEOUT_SECONDS)
        shadow = Shadow(
            self._config.servables,
            ServedVersions(core),
            producer,
            self._config.topics.shadow,
            self._environment.worker_id,
            self._metrics,
        )
        shadow.start()
        stop_time = self._environment.stop_time
        opened.callback(lambda: shadow.close(min(stop_time.left_seconds, CLOSE_TIMEOUT_SECONDS)))
        return shadow

    def _open_core(self, opened: ExitStack) -> ServerCore:
        core = open_core(self._config, self._guard)
        core.check_base_paths()
        opened.callback(self._close_core, core)
        opened.callback(core.cancel_calls)  # a stop that is over waits for no remote server
        names = core.servable_names()
        self._metrics.expect_servables(names)
        ServableMetrics(self._registry, names).subscribe(core)
        core.subscribe(
            lambda event: log_version(event.event, core.replaced_versions(event.event.id.name))
        )
        core.start()
        return core

    def _close_core(self, core: ServerCore) -> None:
        """Close servables: a call that has not returned by now keeps its handle, and may hang."""
        is_given_up = self._inference is not None and self._inference.is_in_a_call
        core.close(GIVEN_UP_SECONDS if is_given_up else CLOSE_TIMEOUT_SECONDS)

    def _open_consumer(self, broker: Broker) -> Consumer:
        return broker.consumer(self._config.kafka.group_id, consumer_settings(self._config))

    def _open_producer(self, broker: Broker, batches: Mapping[str, object]) -> Producer:
        return broker.producer(producer_settings(self._config, batches))


def _ask_at_start(broker: Broker, limits: TopicLimits) -> None:
    """Ask for limits, if they can be had: without them the broker refuses what is too large."""
    admin = broker.admin()
    try:
        for limit in limits:
            limit.ask(admin, LIMIT_TIMEOUT_SECONDS)
    except BackendUnavailableError as error:
        log_event("topic_limit_unknown", topic=limit.topic, problem=str(error))
    finally:
        admin.close()
