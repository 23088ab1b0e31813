"""`topicserve worker`: reads its configuration, looks whether all is there, and serves."""

import argparse
import os
import socket
import threading

from prometheus_client import disable_created_metrics

from topicserve.backends.errors import BackendError
from topicserve.cli.config.flags import add_config_arguments, flags_of
from topicserve.cli.errors import UsageError
from topicserve.cli.interpreter import check_interpreter
from topicserve.cli.worker.startup import TENSORFLOW_LOG_LEVEL, announce, run_preflight
from topicserve.servables.core.errors import ServableError
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import ConfigError, WorkerConfig
from topicserve.worker.runtime.heap import bound_heap
from topicserve.worker.runtime.preflight import StoppedError
from topicserve.worker.runtime.stop_signals import stop_at_end_of, stop_signals
from topicserve.worker.telemetry.logging import configure_logging

EXAMPLE = """\
examples:
  topicserve worker --config worker.toml
  topicserve worker --input-topic digits --output-topic results --servable digits=/models/digits
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; each stands for a key of the configuration file, and wins over it."""
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_config_arguments(parser)
    parser.add_argument(
        "--worker-id", metavar="ID", help="the name in results and logs (host name and process)"
    )
    parser.add_argument(
        "--replicas",
        type=int,
        metavar="N",
        help="run N workers (1 or more) and restart those that end; without this flag, one worker "
        "that nothing here restarts, for containers whose platform does",
    )
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code, or raise UsageError.

    Raises UsageError for a configuration that is wrong and for servers or models that are missing
    at the start; `startup_timeout_seconds` is how long those are waited for.
    """
    check_interpreter()
    os.environ.setdefault(*TENSORFLOW_LOG_LEVEL)
    # They would be a second series beside each counter and histogram, that no one asks for.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    worker_id = arguments.worker_id or f"{socket.gethostname()}-{os.getpid()}"
    if arguments.replicas is not None and arguments.replicas < 1:
        raise UsageError(f"--replicas: must be at least 1, found {arguments.replicas}")
    try:
        config = load_config(arguments.config, os.environ, flags_of(arguments))
        configure_logging(config.logging, worker_id if arguments.supervised else "")
        # One replica too: who asks for replicas expects restarts.
        if arguments.replicas is not None:
            from topicserve.cli.worker.replicas import supervise  # a single worker needs none of it

            return supervise(arguments, config, worker_id)
        return serve(config, worker_id, supervised=arguments.supervised)
    except (ConfigError, BackendError, ServableError, OSError) as error:
        raise UsageError(str(error)) from error


def serve(config: WorkerConfig, worker_id: str, *, supervised: bool) -> int:
    """Run one worker in this process; with a supervisor it ends when standard input does."""
    bound_heap()
    stop, ready = threading.Event(), threading.Event()
    if supervised:
        stop_at_end_of(0, stop)

    def on_ready(address: str) -> None:
        ready.set()
        announce(address)

    with stop_signals(stop, is_starting=lambda: not ready.is_set()):
        try:
            run_preflight(config, stop)
        except StoppedError:
            return 0
        # What takes long to import comes after the configuration is known to be right.
        from topicserve.worker.service import WorkerService

        return WorkerService(config, worker_id).run(stop, on_ready)
