"""What a worker, a supervisor and a replay do alike as they start."""

import logging
import threading
from contextlib import closing

from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.cli.standard_streams import drop_output
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.http.server import READY_WITHOUT_HTTP
from topicserve.worker.runtime.preflight import Preflight
from topicserve.worker.telemetry.logging import libraries_silenced, log_event

# TensorFlow's own: 2 leaves errors only. It must be set before TensorFlow is imported.
TENSORFLOW_LOG_LEVEL = ("TF_CPP_MIN_LOG_LEVEL", "2")


def run_preflight(
    config: WorkerConfig, stop: threading.Event, *, creates_inputs: bool = True
) -> None:
    """Raise ConfigError or BackendError where the broker, a topic or the store is missing.

    Waits for them as long as `startup_timeout_seconds` says; StoppedError where `stop` is set
    before. Libraries' own log lines are held back meanwhile: the error says once what they say many
    times.
    """
    kafka, metadata = config.kafka, config.metadata
    preflight = Preflight(config, stop, creates_inputs=creates_inputs)
    store = RedisMetadataStore(metadata.redis_url, timeout_seconds=metadata.timeout_seconds)
    # A client that finds no one says so many times over; the person needs to hear it once.
    with libraries_silenced(), closing(store):
        preflight.check_store(store.ping)
    servers = {"bootstrap.servers": kafka.bootstrap_servers, **kafka.settings}
    with libraries_silenced(), closing(open_broker(kafka.client.value, servers).admin()) as admin:
        preflight.check_broker(admin)


def announce(address: str) -> None:
    """Print the one line that says that the worker is ready: its HTTP address.

    A worker whose standard output is closed, full or read by no one serves all the same.
    """
    try:
        print(address or READY_WITHOUT_HTTP, flush=True)
    except (OSError, ValueError) as error:
        log_event("address_not_printed", logging.WARNING, address=address, problem=str(error))
        drop_output()
