"""What `make bench-peers` measures: the worker, the strong hand loop, and other frameworks."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

from benchmarks.competitors import (
    STRONG,
    Competitor,
    Program,
    Run,
    environment_of,
    topicserve,
)
from benchmarks.peer_environments import python_of
from benchmarks.workload import SERVABLE, Shape

_CHECKOUT = Path(__file__).parents[1]
_BATCH_ROWS, _BATCH_SECONDS = 1024, 0.01


def _program(peer: str) -> Callable[[Run], Program]:
    def program(run: Run) -> Program:
        module = f"benchmarks.peer_programs.{peer}_program"
        return Program([str(python_of(peer)), "-m", module], environment_of(run))

    return program


def _mlserver(run: Run) -> Program:
    """Write its settings files, and return how it is started."""
    settings = {
        "host": "127.0.0.1",
        **{f"{name}_port": _free_port() for name in ("http", "grpc", "metrics")},
        # So small a model costs less than handing its rows to another process.
        "parallel_workers": 0,
        "debug": False,
        "kafka_enabled": True,
        "kafka_servers": run.servers.bootstrap_servers,
        "kafka_topic_input": run.input_topic,
        "kafka_topic_output": run.output_topic,
        "logging_settings": {"version": 1, "root": {"level": "WARNING"}},
    }
    model = {
        "name": SERVABLE,
        "implementation": "benchmarks.peer_programs.mlserver_runtime.NetworkRuntime",
        "max_batch_size": _BATCH_ROWS,
        "max_batch_time": _BATCH_SECONDS,
    }
    folder = run.directory / "mlserver"
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(python_of("mlserver").parent / "mlserver"), "start", str(folder)]
    return Program(command, environment_of(run) | {"PYTHONPATH": str(_CHECKOUT)})


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


PEERS = (
    topicserve("confluent", "at_least_once"),
    topicserve("kafka-python", "at_least_once"),
    STRONG,
    Competitor(
        "Quix Streams 3.28", "confluent", "at_least_once", Shape.HAND_LOOP, _program("quix")
    ),
    Competitor(
        "FastStream 0.7", "confluent", "at_least_once", Shape.HAND_LOOP, _program("faststream")
    ),
    Competitor(
        "MLServer 1.7.1",
        "aiokafka",
        "none",
        Shape.OPEN_INFERENCE,
        _mlserver,
        reads_from_the_end=True,
    ),
)
