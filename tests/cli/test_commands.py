"""What a person sees of `publish` and `results` when something outside is wrong."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from topicserve.cli import connection
from topicserve.cli.main import main
from topicserve.embedded.kafka_server import KafkaServer

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaServer]:
    """Run a broker that creates no topic by itself."""
    with KafkaServer(auto_create_topics=False) as server:
        yield server


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return an address at which no one answers: a port that is taken but not listened on."""
    monkeypatch.setattr(connection, "REACH_SECONDS", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line that was told; a traceback would have many more behind it."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


@pytest.fixture
def records(tmp_path: Path) -> str:
    """Return a file with one record that has metadata."""
    path = tmp_path / "records.jsonl"
    path.write_text('{"instance": 1, "metadata": {"row": 1}}\n')
    return str(path)


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
@pytest.mark.parametrize("command", ["publish", "results", "demo"])
def test_an_unreachable_broker_is_named(
    command: str, client: str, nobody: str, records: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within seconds, with the address and what to do."""
    words = {
        "publish": [records, "--topic=digits"],
        "results": ["--topic=digits"],
        "demo": ["--redis-url=redis://127.0.0.1"],
    }

    exit_code = main(
        [command, *words[command], f"--client={client}", "--bootstrap-servers", nobody]
    )

    assert exit_code == 2
    line = told(capsys)
    assert line.startswith(f"topicserve: --bootstrap-servers: no broker answers at {nobody}")
    assert line.endswith("start it, or correct the address")


def test_client_libraries_are_heard_only_when_asked_for() -> None:
    """One tells of every failed connection, many times a second."""
    impatient = (
        "import sys; from topicserve.cli import connection, main; connection.REACH_SECONDS = 1.0; "
        "sys.exit(main.main(sys.argv[1:]))"
    )
    command = [
        *(sys.executable, "-c", impatient, "results", "--topic=digits"),
        *("--client=confluent", "--bootstrap-servers=127.0.0.1:1"),
    ]

    quiet, verbose = (
        subprocess.run([*command, *flags], capture_output=True, text=True, timeout=300, check=False)
        for flags in ([], ["--verbose"])
    )

    assert quiet.returncode == verbose.returncode == 2
    assert len(quiet.stderr.splitlines()) == 1
    assert "refused" in verbose.stderr


@pytest.mark.parametrize("command", ["publish", "demo"])
def test_an_unreachable_redis_is_named(
    command: str,
    kafka: KafkaServer,
    nobody: str,
    records: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before the first record that has metadata goes."""
    words = [records, "--topic=metadata", "--create-topics=1"] if command == "publish" else []
    servers = ["--bootstrap-servers", kafka.bootstrap_servers, "--redis-url", f"redis://{nobody}"]

    exit_code = main([command, *words, *servers])

    assert exit_code == 2
    line = told(capsys)
    assert line.startswith("topicserve: --redis-url: ")
    assert nobody in line


@pytest.mark.parametrize("command", ["publish", "results"])
def test_a_missing_topic_is_named(
    command: str, kafka: KafkaServer, records: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do about it; it is not created behind one's back."""
    file = [records] if command == "publish" else []

    exit_code = main(
        [command, *file, "--topic=dgits", "--bootstrap-servers", kafka.bootstrap_servers]
    )

    assert exit_code == 2
    assert told(capsys).startswith("topicserve: --topic: there is no topic 'dgits'")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--kafka-setting=acks"], "topicserve: --kafka-setting: must be NAME=VALUE"),
        (["--kafka-setting=no.such.setting=1"], "no.such.setting"),
        (["--redis-url=http://127.0.0.1"], "redis_url"),
        (["--ttl-seconds=0"], "topicserve: --ttl-seconds: must be a number of seconds above 0"),
        (["--topic=a b"], "topicserve: topic must be one topic's name"),
    ],
)
def test_a_wrong_flag_is_named(
    flags: list[str],
    line: str,
    kafka: KafkaServer,
    records: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line."""
    exit_code = main(
        [
            *("publish", records, "--topic=flags", "--create-topics=1"),
            *("--bootstrap-servers", kafka.bootstrap_servers, *flags),
        ]
    )

    assert exit_code == 2
    assert line in told(capsys)


def test_an_empty_topic_has_no_results(
    kafka: KafkaServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends by itself when the end is reached, also where there is nothing."""
    servers = ["--bootstrap-servers", kafka.bootstrap_servers]
    assert main(["publish", "/dev/null", "--topic=empty", "--create-topics=2", *servers]) == 0

    assert main(["results", "--topic=empty", *servers]) == 0

    assert capsys.readouterr().out == ""
