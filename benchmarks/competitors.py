"""The table of what is measured: a competitor more is an entry more."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import Servers
from benchmarks.workload import SERVABLE, Shape
from tests.support.processes.worker_process import worker_command

SAVED_MODEL, ONNX = "saved_model", "onnx"
NO_MODEL = "none"
"""Of a loop written by hand: it answers zeros."""


@dataclass(frozen=True)
class Run:
    """The places of one competitor's one run."""

    servers: Servers
    input_topic: str
    output_topic: str
    group_id: str
    model_base_path: Path
    directory: Path
    """For files of the run's own."""

    @property
    def topics(self) -> tuple[str, str, str]:
        """Return all topics; a worker's dead-letter topic stays empty, if all is well."""
        return self.input_topic, self.output_topic, f"{self.input_topic}.dead-letter"


@dataclass(frozen=True)
class Program:
    """How a competitor is started."""

    command: list[str]
    environment: dict[str, str]


@dataclass(frozen=True)
class Competitor:
    """One row of a benchmark's table."""

    kind: str
    client: str
    guarantee: str
    shape: Shape
    program: Callable[[Run], Program]
    reads_from_the_end: bool = False
    """Knows no committed offsets: reads what is written from its start on."""

    @property
    def name(self) -> str:
        """Return what the table calls it."""
        return f"{self.kind}, {self.client}, {self.guarantee}"


def hand_loop(module: str, kind: str = SAVED_MODEL) -> Callable[[Run], Program]:
    """Return how to start one of benchmarks.hand_loops, with a model of a kind."""

    def program(run: Run) -> Program:
        command = [sys.executable, "-m", f"benchmarks.hand_loops.{module}"]
        return Program(command, environment_of(run, kind))

    return program


def environment_of(run: Run, kind: str = SAVED_MODEL) -> dict[str, str]:
    """Return what tells a program written by hand where it reads and writes."""
    return {
        "BOOT": run.servers.bootstrap_servers,
        "REDIS": run.servers.redis_url,
        "TIN": run.input_topic,
        "TOUT": run.output_topic,
        "GROUP": run.group_id,
        "MODEL": str(run.model_base_path / "1"),
        "KIND": kind,
    }


# What is best for a small network in ONNX Runtime, as the hand loop has it.
ONE_THREAD = {"session_threads": 1}
_DEFAULTS: Mapping[str, object] = {}


def worker(
    client: str,
    guarantee: str,
    kind: str = SAVED_MODEL,
    *,
    options: Mapping[str, object] = _DEFAULTS,
    has_pages: bool = True,
    has_sdk: bool = False,
) -> Callable[[Run], Program]:
    """Return how to start `topicserve worker`, for a client, a guarantee and a kind of servable.

    With its defaults, but for the servable's options; or without its HTTP pages, or with an SDK of
    OpenTelemetry's whose spans go nowhere.
    """

    def program(run: Run) -> Program:
        config = config_of(run, client, guarantee, kind, options)
        if not has_pages:
            config["http"] = {"port": -1}
        command = worker_command(config, run.directory / "worker.toml")
        if has_sdk:
            command[command.index("topicserve")] = "benchmarks.traced_worker"
        return Program(command, {})

    return program


def config_of(
    run: Run, client: str, guarantee: str, kind: str, options: Mapping[str, object]
) -> dict[str, Any]:
    """Return a worker's configuration with one servable."""
    return {
        "kafka": {
            "bootstrap_servers": run.servers.bootstrap_servers,
            "group_id": run.group_id,
            "client": client,
        },
        "topics": {"input": [run.input_topic], "output": run.output_topic},
        "metadata": {"redis_url": run.servers.redis_url},
        "delivery": {"guarantee": guarantee},
        "servables": [
            {
                "name": SERVABLE,
                "base_path": str(run.model_base_path),
                "kind": kind,
                "options": dict(options),
            }
        ],
    }


def onnx_hand_loop(client: str) -> Competitor:
    """Return the client's hand loop, with ONNX Runtime."""
    module = {"confluent": "confluent_loop", "kafka-python": "kafka_python_loop"}[client]
    program = hand_loop(module, ONNX)
    return Competitor("hand loop", client, "at_least_once", Shape.HAND_LOOP, program)


def _hand_loop(client: str, module: str) -> Competitor:
    return Competitor("hand loop", client, "at_least_once", Shape.HAND_LOOP, hand_loop(module))


def _echo(client: str, module: str) -> Competitor:
    return Competitor("bare echo", client, "none", Shape.TOPICSERVE, hand_loop(module))


def _lone_loop(kind: str, model: str = SAVED_MODEL) -> Competitor:
    program = hand_loop("confluent_lone_loop", model)
    return Competitor(kind, "confluent", "at_least_once", Shape.HAND_LOOP, program)


def topicserve(
    client: str,
    guarantee: str,
    shape: Shape = Shape.TOPICSERVE,
    kind: str = SAVED_MODEL,
    options: Mapping[str, object] = _DEFAULTS,
) -> Competitor:
    """Return a worker with its defaults, that reads records of a shape."""
    program = worker(client, guarantee, kind, options=options)
    return Competitor("topicserve", client, guarantee, shape, program)


def _watched(kind: str, shape: Shape = Shape.TOPICSERVE, **parts: Any) -> Competitor:
    client, guarantee = "confluent", "at_least_once"
    program = worker(client, guarantee, SAVED_MODEL, **parts)
    return Competitor(kind, client, guarantee, shape, program)


STRONG = _hand_loop("confluent", "confluent_loop")

DRAIN = (
    STRONG,
    topicserve("confluent", "at_least_once"),
    _watched("topicserve, no status page", has_pages=False),
    _watched("topicserve, nothing sampled", has_sdk=True),
    _watched("topicserve, all records traced", Shape.TRACED, has_sdk=True),
    topicserve("confluent", "exactly_once"),
    _hand_loop("kafka-python", "kafka_python_loop"),
    topicserve("kafka-python", "at_least_once"),
    topicserve("kafka-python", "exactly_once"),
    _hand_loop("aiokafka", "aiokafka_loop"),
)

LATENCY = (
    _echo("confluent", "confluent_echo"),
    STRONG,
    _lone_loop("hand loop, each record alone"),
    _lone_loop("the same, no model", NO_MODEL),
    topicserve("confluent", "at_least_once"),
    _echo("kafka-python", "kafka_python_echo"),
    topicserve("kafka-python", "at_least_once"),
)
