import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.support.kafka.kafka_jars import JAVA, classpath, run_tool
from tests.support.processes.programs import need_program, run_program
from tools.reference_pages import CHECKOUT
from topicserve.cli import commands as cli
from topicserve.cli.config.flags import flags_of
from topicserve.cli.publish.json_lines import numbered_lines, read_record
from topicserve.servables.kinds.hashmap.hashmap import HashmapOptions, load_hashmap
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import WorkerConfig

COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "topicserve"]
KAFKA_SERVERS = "kafka:9092"


def mounted(service: str, path: str) -> Path:
    """Return the file of this checkout that a service finds at a path."""
    for volume in SERVICES[service]["volumes"]:
        source, target, *_ = volume.split(":")
        if path == target or path.startswith(f"{target}/"):
            return CHECKOUT.joinpath(source + path.removeprefix(target))
    raise AssertionError(f"{service} has nothing at {path}")


def arguments_of(service: str) -> Any:
    """Return a service's command, parsed as the program does."""
    command, *words = SERVICES[service]["command"]
    return cli.parser_of(command).parse_args([command, *words])


def worker_config() -> WorkerConfig:
    """Return what the workers there are told."""
    path = mounted("worker", str(arguments_of("worker").config))
    return load_config(path, SERVICES["worker"]["environment"], {})


def topics_created() -> set[str]:
    """Return the topics that the service "topics" creates."""
    words = shlex.split(SERVICES["topics"]["command"][0])
    start = words.index("in") + 1
    return {word.rstrip(";") for word in words[start : words.index("do")]}


def test_the_compose_client_accepts_the_file() -> None:
    """No engine runs here, and none is needed for that."""
    compose = need_program("docker-compose", "docker-compose")

    run_program(compose, "--file", str(CHECKOUT / "docker-compose.yml"), "config", "--quiet")


@pytest.mark.parametrize("service", OURS)
def test_every_command_of_ours_is_understood(service: str) -> None:
    """With every flag in it."""
    arguments = arguments_of(service)

    module = f"topicserve.cli.{SERVICES[service]['command'][0]}"
    assert arguments.run.__module__.removesuffix(".command") == module


def test_the_workers_are_configured_by_keys_that_exist() -> None:
    """Also through the environment, and with the addresses of the other services."""
    config = worker_config()

    assert config.kafka.bootstrap_servers == KAFKA_SERVERS
    assert config.metadata.redis_url == "redis://redis:6379/0"
    assert config == load_config(
        mounted("worker", "/etc/topicserve/worker.toml"),
        SERVICES["worker"]["environment"],
        flags_of(arguments_of("worker")),
    )


def test_all_topics_are_created_and_no_others() -> None:
    """The workers', the producer's and the reader's are among them."""
    config = worker_config()

    topics = {*config.topics.input, config.topics.output, config.dead_letter_topic}
    assert topics_created() == topics
    assert arguments_of("producer").topic in config.topics.input
    assert arguments_of("results").topic == config.topics.output


def test_addresses_are_those_of_services() -> None:
    """Anyone who connects uses a service's name, and a port that it listens on."""
    kafka, redis = SERVICES["kafka"], SERVICES["redis"]

    assert f"INSIDE://{KAFKA_SERVERS}" in kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert redis["ports"] == ["127.0.0.1:26379:6379"]
    for service in ("producer", "results"):
        assert arguments_of(service).bootstrap_servers == KAFKA_SERVERS
    assert arguments_of("producer").redis_url == worker_config().metadata.redis_url


def test_the_outer_listener_is_the_port_that_is_published() -> None:
    """A program on this machine reaches the broker at the address that the broker names."""
    kafka = SERVICES["kafka"]
    listeners = kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")

    assert "OUTSIDE://127.0.0.1:29092" in listeners
    assert kafka["ports"] == ["127.0.0.1:29092:29092"]


def test_every_port_is_open_on_this_machine_only() -> None:
    """None of it has a password."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_file_that_is_mounted_is_there() -> None:
    """An engine would make an empty directory in its place."""
    sources = [
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]

    assert [source for source in sources if not (CHECKOUT / source).exists()] == []


def test_health_and_metrics_are_asked_for_where_the_workers_answer() -> None:
    """At the port of their configuration, on an address that Prometheus can reach."""
    config = worker_config()
    service = SERVICES["worker"]

    assert config.http.host == "0.0.0.0"
    assert service["expose"] == [str(config.http.port)]
    assert f"http://127.0.0.1:{config.http.port}/livez" in service["healthcheck"]["test"][-1]


def test_a_worker_has_time_to_finish() -> None:
    """SIGKILL comes after its own limit."""
    grace = SERVICES["worker"]["stop_grace_period"]

    assert int(grace.removesuffix("s")) > worker_config().delivery.shutdown_timeout_seconds


def test_workers_can_be_many() -> None:
    """Neither a name nor a port of the machine is one container's alone."""
    assert not {"container_name", "ports", "hostname"} & SERVICES["worker"].keys()


def test_the_sample_records_are_answered() -> None:
    """Each line is one that `topicserve publish` takes, with metadata, and its key is known."""
    path = mounted("producer", arguments_of("producer").file)
    (served,) = worker_config().servables
    versions = mounted("worker", served.servable.base_path)

    with path.open("rb") as file:
        records = [read_record(line) for _, line in numbered_lines(file)]
    keys = np.array([str(record.instance).encode() for record in records], dtype=object)
    table = load_hashmap(str(versions / "1"), HashmapOptions())
    capitals = table.predict({"key": keys})["value"]

    assert len(capitals) > 5
    assert dict(zip(keys, capitals, strict=True))[b"Kenya"] == b"Nairobi"
    assert all(record.metadata for record in records)
    assert arguments_of("producer").servable == served.servable.name
    assert served.servable.kind == "hashmap"


_SETTINGS_THAT_EXIST = """
import java.util.Arrays;
import org.apache.kafka.server.config.AbstractKafkaConfig;

class Known {
    public static void main(String[] names) {
        var known = AbstractKafkaConfig.CONFIG_DEF.names();
        System.out.println(Arrays.stream(names).filter(name -> !known.contains(name)).toList());
    }
}
"""


@pytest.mark.kafka
def test_every_setting_of_the_broker_exists(tmp_path: Path) -> None:
    """Apache Kafka only warns of one that does not, and runs with its default."""
    prefix = "KAFKA_"
    settings = [
        name.removeprefix(prefix).lower().replace("_", ".")
        for name in SERVICES["kafka"]["environment"]
        if name.startswith(prefix)
    ]
    source = tmp_path / "Known.java"
    source.write_text(_SETTINGS_THAT_EXIST)

    unknown = run_program(*JAVA, "-cp", classpath(), str(source), *settings, "no.such.setting")

    assert unknown.strip() == "[no.such.setting]"


@pytest.mark.kafka
def test_every_option_of_kafkas_tools_exists() -> None:
    """The tool itself lists them (and ends with an error after its help, as after a wrong one)."""
    words = shlex.split(SERVICES["topics"]["command"][0])
    options = {word for word in words if word.startswith("--")}

    with pytest.raises(RuntimeError) as told:
        run_tool("kafka-topics", ["--help"])

    assert options == {
        *("--bootstrap-server", "--create", "--if-not-exists", "--topic", "--partitions"),
    }
    assert [option for option in options if f"{option} " not in str(told.value)] == []
