"""`topicserve worker --replicas N`: workers in processes of their own, behind one address.

Only what a person types is here: `topicserve.worker.supervisor` restarts, asks and adds up.
"""

import argparse
import os
import sys
import threading
from contextlib import ExitStack

from prometheus_client import CollectorRegistry

from topicserve.cli.worker.startup import announce, run_preflight
from topicserve.worker.config.flags import FLAGS
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.http.server import open_server
from topicserve.worker.runtime.preflight import StoppedError
from topicserve.worker.runtime.stop_signals import stop_signals
from topicserve.worker.runtime.stop_watchdog import frozen_limit_seconds
from topicserve.worker.supervisor.pages import ReplicaCollector, Replicas, SupervisorPages
from topicserve.worker.supervisor.replica import ReplicaProcess
from topicserve.worker.supervisor.silence import ASK_SECONDS, SilenceWatch
from topicserve.worker.supervisor.supervisor import STOP_MARGIN_SECONDS, Supervisor
from topicserve.worker.telemetry.supervisor_metrics import SupervisorMetrics

# For how much longer a replica that was to be ended may be silent before `/livez` says so.
_STILL_SILENT_SECONDS = 2 * ASK_SECONDS


def supervise(arguments: argparse.Namespace, config: WorkerConfig, worker_id: str) -> int:
    """Run `--replicas` workers, each in a process of its own, behind one HTTP address.

    Returns the exit code: 0 after a signal before anything was started, or what the supervisor
    makes of its replicas' codes. Raises ConfigError or BackendError where a worker could not start
    either: the configuration is checked once here, before N processes find the same fault.
    """
    registry = CollectorRegistry()
    metrics = SupervisorMetrics(registry, arguments.replicas)
    supervisor = Supervisor(
        lambda slot, changed: ReplicaProcess(
            replica_command(arguments, config, worker_id, slot), changed
        ),
        arguments.replicas,
        config.delivery.shutdown_timeout_seconds,
        metrics,
    )
    replicas = Replicas(supervisor.addresses)
    registry.register(ReplicaCollector(replicas, metrics))

    def exit_now(code: int) -> None:
        supervisor.kill()
        os._exit(code)

    stop = threading.Event()
    with stop_signals(stop, exit_now), ExitStack() as opened:
        try:
            run_preflight(config, stop)
        except StoppedError:
            return 0
        address = ""
        if config.http.port >= 0:
            # A replica that is frozen ends by itself before.
            silent_limit = frozen_limit_seconds(config.delivery) + STOP_MARGIN_SECONDS
            watch = SilenceWatch(replicas, supervisor.kill_replica, silent_limit)
            watch.start()
            opened.callback(watch.close)
            pages = SupervisorPages(
                registry,
                replicas,
                silent_limit + _STILL_SILENT_SECONDS,
                told=supervisor.told,
            )
            server = open_server(config.http, pages.get)
            opened.callback(server.close)
            address = server.address
        return supervisor.run(stop, lambda: announce(address))


def replica_command(
    arguments: argparse.Namespace, config: WorkerConfig, worker_id: str, slot: int
) -> list[str]:
    """Return the command of a slot's worker: what was typed, and what that slot alone has.

    Whatever the others must not have too is named after the slot, so that a replica that is started
    again gets its partitions back at once, and fences what may be left of the one before it.
    """
    typed = [f"--config={arguments.config}"] if arguments.config else []
    for flag in FLAGS:
        value = getattr(arguments, flag.key)
        values = value if flag.repeated else [value]
        typed += [f"{flag.name}={one}" for one in values or [] if one is not None]
    own = {
        "kafka.group_instance_id": f"{config.kafka.group_instance_id or worker_id}-{slot}",
        "http.host": "127.0.0.1",
        "http.port": str(min(config.http.port, 0)),
    }
    typed += [f"--kafka-setting={setting}" for setting in arguments.kafka_setting]
    if config.delivery.transactional_id:
        own["delivery.transactional_id"] = f"{config.delivery.transactional_id}-{slot}"
    settings = [*arguments.set, *(f"{key}={value}" for key, value in own.items())]
    return [
        *(sys.executable, "-m", "topicserve", "worker", *typed),
        *(f"--set={setting}" for setting in settings),
        *("--worker-id", f"{worker_id}-{slot}", "--supervised"),
    ]
