"""`topicserve worker`: reads its configuration, looks whether all is there, and serves."""

import argparse
import os
import socket
import threading
from pathlib import Path

from topicserve.backends.errors import BackendError
from topicserve.cli.errors import UsageError
from topicserve.servables.errors import ServableError
from topicserve.worker.config import ConfigError, WorkerConfig
from topicserve.worker.config_flags import FLAGS
from topicserve.worker.config_loading import load_config
from topicserve.worker.logging import configure_logging
from topicserve.worker.stop_signals import stop_signals

# TensorFlow's own: 2 leaves errors only. It must be set before TensorFlow is imported.
_TENSORFLOW_LOG_LEVEL = ("TF_CPP_MIN_LOG_LEVEL", "2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; each stands for a key of the configuration file, and wins over it."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML; see docs/configuration.md"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any key of the file, such as batching.max_batch_bytes=1000000; may be repeated",
    )
    parser.add_argument(
        "--worker-id", metavar="ID", help="the name in results and logs (host name and process)"
    )
    parser.add_argument(
        "--replicas", type=int, default=1, metavar="N", help="run so many workers, and restart them"
    )
    for flag in FLAGS:
        parser.add_argument(
            flag.name,
            dest=flag.key,
            metavar=flag.metavar,
            help=flag.help,
            action="append" if flag.repeated else "store",
        )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code, or raise UsageError."""
    os.environ.setdefault(*_TENSORFLOW_LOG_LEVEL)
    worker_id = arguments.worker_id or f"{socket.gethostname()}-{os.getpid()}"
    try:
        config = load_config(arguments.config, os.environ, flags_of(arguments))
        configure_logging(config.logging)
        return serve(config, worker_id)
    except (ConfigError, BackendError, ServableError, OSError) as error:
        raise UsageError(str(error)) from error


def flags_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return what was typed by dotted key; `--set` wins over the flag for the same key."""
    typed: dict[str, object] = {flag.key: getattr(arguments, flag.key) for flag in FLAGS}
    for setting in arguments.set:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise UsageError(f"--set: must be KEY=VALUE, found {setting!r}")
        typed[key] = value
    return typed


def serve(config: WorkerConfig, worker_id: str) -> int:
    """Run one worker in this process."""
    # What takes seconds to import comes after the configuration is known to be right.
    from topicserve.worker.preflight import StoppedError

    stop = threading.Event()
    with stop_signals(stop):
        try:
            look_around(config, stop)
        except StoppedError:
            return 0
        from topicserve.worker.service import WorkerService

        return WorkerService(config, worker_id).run(stop, announce)


def look_around(config: WorkerConfig, stop: threading.Event) -> None:
    """Raise ConfigError or BackendError where the broker, a topic or the store is missing."""
    from topicserve.backends.kafka_clients import open_broker
    from topicserve.backends.redis_store import RedisMetadataStore
    from topicserve.worker.preflight import Preflight

    kafka, metadata = config.kafka, config.metadata
    preflight = Preflight(config, stop)
    store = RedisMetadataStore(metadata.redis_url, timeout_seconds=metadata.timeout_seconds)
    try:
        preflight.check_store(store.ping)
    finally:
        store.close()
    servers = {"bootstrap.servers": kafka.bootstrap_servers, **kafka.settings}
    admin = open_broker(kafka.client.value, servers).admin()
    try:
        preflight.check_broker(admin)
    finally:
        admin.close()


def announce(address: str) -> None:
    """Print the one line that says that the worker is ready: its HTTP address."""
    print(address or "ready, without HTTP", flush=True)
