import argparse
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.redis.valkey import open_valkey
from topicserve.cli.config.flags import flags_of
from topicserve.cli.errors import UsageError
from topicserve.cli.worker import command, replicas
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import Client, Guarantee, HttpConfig

NEEDED = ["--input-topic", "in", "--output-topic", "out", "--servable", "digits=/models/digits"]


def parse(*argv: str) -> argparse.Namespace:
    """Return what was typed, parsed as the program does."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(argv)


def usage_error(*argv: str) -> str:
    """Return the line that the person sees."""
    with pytest.raises(UsageError) as caught:
        command.run(parse(*argv))
    return str(caught.value)


def test_what_the_design_says_people_type_is_understood() -> None:
    """Flags alone configure a worker."""
    arguments = parse(
        *("--bootstrap-servers", "k:9092", "--redis-url", "redis://r:6379/1", "--group", "g"),
        *("--input-topic", "a", "--input-topic", "b", "--output-topic", "out"),
        *("--dead-letter-topic", "dead", "--servable", "x=/x", "--servable", "y=/y"),
        *("--client", "confluent", "--guarantee", "exactly_once", "--http-port", "-1"),
    )

    config = load_config(None, {}, flags_of(arguments))

    assert config.kafka.bootstrap_servers == "k:9092"
    assert config.kafka.group_id == "g"
    assert config.kafka.client is Client.CONFLUENT
    assert config.metadata.redis_url == "redis://r:6379/1"
    assert config.topics.input == ("a", "b")
    assert config.dead_letter_topic == "dead"
    assert [one.servable.name for one in config.servables] == ["x", "y"]
    assert config.delivery.guarantee is Guarantee.EXACTLY_ONCE
    assert config.http.port == -1


def test_any_key_can_be_set() -> None:
    """Also a servable's, and Kafka's own."""
    arguments = parse(
        *NEEDED,
        *("--set", "servables.digits.kind=hashmap", "--set", "batching.max_batch_bytes=10"),
        *("--set", "kafka.settings.security.protocol=SSL", "--kafka-setting", "client.rack=a=b"),
    )

    config = load_config(None, {}, flags_of(arguments))

    assert config.servables[0].servable.kind == "hashmap"
    assert config.servables[0].servable.base_path == "/models/digits"
    assert config.batching.max_batch_bytes == 10
    assert config.kafka.settings == {"security.protocol": "SSL", "client.rack": "a=b"}


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (
            [*NEEDED, "--max-batch-size", "many"],
            "batching.max_batch_size: must be a whole number, found 'many' (from --max-batch-size)",
        ),
        (
            [*NEEDED, "--set", "batching.max_batch_size=0"],
            "batching.max_batch_size: must be at least 1, found 0 (from --set)",
        ),
        (
            [*NEEDED, "--max-batch-size", "5", "--set", "batching.max_batch_size=0"],
            "batching.max_batch_size: must be at least 1, found 0 (from --set)",
        ),
        (
            [*NEEDED, "--kafka-setting", "group.id=x"],
            "kafka.settings.group.id: is not free: set kafka.group_id instead "
            "(from --kafka-setting)",
        ),
        (
            [*NEEDED, "--bootstrap-servers", "kafka"],
            "kafka.bootstrap_servers: must be host:port, with commas between; number 1 is not "
            "(from --bootstrap-servers)",
        ),
        (
            ["--servable", "m=/m"],
            "topics.input: is missing; set it in the file, with --input-topic or in "
            "TOPICSERVE_TOPICS__INPUT",
        ),
        ([*NEEDED, "--set", "http.port"], "--set: must be KEY=VALUE; one of them is not"),
        (
            [*NEEDED, "--kafka-setting", "=x"],
            "--kafka-setting: must be NAME=VALUE; one of them is not",
        ),
        (
            [*NEEDED, "--set", "http.prot=1"],
            "http.prot: is not a key; did you mean http.port? (from --set)",
        ),
        (
            [*NEEDED, "--servable", "digits"],
            "servables: must be NAME=BASE_PATH (from --servable)",
        ),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_it(argv: list[str], line: str) -> None:
    """No traceback: the person can correct it."""
    assert usage_error(*argv) == line


def test_a_missing_file_is_one_line_that_names_it(tmp_path: Path) -> None:
    """Nothing is connected to before the configuration is right."""
    path = tmp_path / "none.toml"

    assert (
        usage_error("--config", str(path)) == f"{path}: cannot be read: No such file or directory"
    )


def test_an_unreachable_redis_is_one_line_that_names_it() -> None:
    """Port 1 of this machine is no one's."""
    line = usage_error(
        *NEEDED, "--redis-url", "redis://127.0.0.1:1/0", "--startup-timeout-seconds", "0.2"
    )

    assert line.startswith(
        "metadata.redis_url: no Redis answers at redis://127.0.0.1:1/0 (tried for 0.2 s: "
    )
    assert line.endswith("; start it, or correct the address")


@pytest.mark.servers
def test_an_unreachable_broker_is_one_line_that_names_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever the client library complains of meanwhile is not shown."""
    with open_valkey() as store:
        line = usage_error(
            *NEEDED,
            *("--redis-url", f"redis://127.0.0.1:{store.port}/0"),
            *("--bootstrap-servers", "127.0.0.1:1", "--startup-timeout-seconds", "0.2"),
        )

    assert line.startswith(
        "kafka.bootstrap_servers: no broker answers at 127.0.0.1:1 (tried for 0.2 s: "
    )
    assert line.endswith("; start it, or correct the address")
    assert capfd.readouterr().err == ""


def test_a_replica_is_told_what_was_typed_and_what_it_alone_has() -> None:
    """Whatever two workers must not share is named after the slot."""
    arguments = parse(
        *NEEDED,
        *("--input-topic", "in2", "--http-port", "8080", "--http-host", "0.0.0.0"),
        *("--replicas", "3", "--set", "delivery.transactional_id=t", "--set", "http.port=9090"),
        *("--kafka-setting", "security.protocol=SSL"),
    )
    config = load_config(None, {}, flags_of(arguments))

    words = replicas.replica_command(arguments, config, "host", 2)

    assert words[1:4] == ["-m", "topicserve", "worker"]
    told = parse(*words[4:])
    assert told.supervised
    assert told.replicas is None
    assert told.worker_id == "host-2"
    replica = load_config(None, {}, flags_of(told))
    assert replica == replace(
        config,
        kafka=replace(config.kafka, group_instance_id="host-2"),
        delivery=replace(config.delivery, transactional_id="t-2"),
        http=HttpConfig("127.0.0.1", 0),
    )


def test_a_replica_has_no_http_where_there_is_to_be_none() -> None:
    """And keeps the membership's name that was given, with its number."""
    arguments = parse(*NEEDED, "--http-port", "-1", "--group-instance-id", "mine")
    config = load_config(None, {}, flags_of(arguments))

    told = parse(*replicas.replica_command(arguments, config, "host", 0)[4:])

    replica = load_config(None, {}, flags_of(told))
    assert replica.http.port == -1
    assert replica.kafka.group_instance_id == "mine-0"


def test_no_replicas_at_all_is_one_line() -> None:
    """Nothing would run."""
    assert usage_error(*NEEDED, "--replicas", "0") == "--replicas: must be at least 1, found 0"


@pytest.mark.parametrize(
    ("typed", "runs"), [((), "serve"), (("--replicas", "1"), "supervise")], ids=["none", "one"]
)
def test_one_replica_has_a_supervisor_and_no_replicas_have_none(
    typed: tuple[str, ...], runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restarts are what replicas are asked for; in a container the platform restarts."""
    codes = {"serve": 10, "supervise": 11}
    monkeypatch.setattr(command, "serve", lambda *_, **__: codes["serve"])
    monkeypatch.setattr(replicas, "supervise", lambda *_: codes["supervise"])

    assert command.run(parse(*NEEDED, *typed)) == codes[runs]
