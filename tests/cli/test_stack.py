"""`topicserve stack` as a person runs it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis
from confluent_kafka import Producer

from topicserve.cli.main import main
from topicserve.cli.stack import is_asked_to_end
from topicserve.embedded import redis_server
from topicserve.embedded.kafka_server import KafkaServer

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 30


def a_stack(*arguments: str) -> "subprocess.Popen[str]":
    """Start the program on free ports."""
    ports = ("--kafka-port", "0", "--redis-port", "0")
    return subprocess.Popen(
        [sys.executable, "-m", "topicserve", "stack", *ports, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def addresses(stack: "subprocess.Popen[str]") -> dict[str, str]:
    """Return the line that it prints when both answer."""
    assert stack.stdout is not None
    found: dict[str, str] = json.loads(stack.stdout.readline())
    return found


def topics(bootstrap_servers: str, topic: str | None = None) -> set[str]:
    """Return all topics, or create one by asking for it."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    if topic is not None:
        producer.produce(topic, b"value")
        assert producer.flush(LIMIT_SECONDS) == 0
    return set(producer.list_topics(timeout=LIMIT_SECONDS).topics)


def test_json_tells_where_both_answer_and_a_signal_ends_them(tmp_path: Path) -> None:
    """One line for programs; what is in the data directory is there the next time."""
    data_dir = ("--data-dir", str(tmp_path))
    for number, sent in enumerate((signal.SIGTERM, signal.SIGINT)):
        with a_stack("--json", *data_dir) as stack:
            where = addresses(stack)
            with redis.Redis.from_url(where["redis_url"]) as client:
                assert client.set("key", "value", get=True) == (None if number == 0 else b"value")
            assert ("kept" in topics(where["bootstrap_servers"])) is (number == 1)
            topics(where["bootstrap_servers"], "kept")

            stack.send_signal(sent)

            assert stack.wait(LIMIT_SECONDS) == 0


def test_a_person_is_told_what_it_is_for_and_how_to_use_it() -> None:
    """Both addresses, the commands to go on with, and that production is elsewhere."""
    with a_stack() as stack:
        assert stack.stdout is not None
        said = []
        for line in stack.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                stack.terminate()

    text = "".join(said)
    assert "development and tests" in text
    assert "topicserve worker --bootstrap-servers 127.0.0.1:" in text
    assert "redis://127.0.0.1:" in text


def test_it_ends_when_one_of_its_servers_does() -> None:
    """No one is left waiting for a broker that is gone."""
    with a_stack("--json") as stack:
        addresses(stack)
        for child in psutil.Process(stack.pid).children():
            child.kill()

        assert stack.wait(LIMIT_SECONDS) == 1


def test_a_taken_port_is_one_line_and_exit_code_2() -> None:
    """It names the address, and the flags to choose another."""
    with KafkaServer() as server:
        port = server.bootstrap_servers.rpartition(":")[2]
        with a_stack("--kafka-port", port) as stack:
            _, said = stack.communicate(timeout=LIMIT_SECONDS)

    assert stack.returncode == 2
    assert len(said.splitlines()) == 1
    assert server.bootstrap_servers in said
    assert "--kafka-port" in said


def test_a_data_directory_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "file").write_text("")
    with a_stack("--data-dir", str(tmp_path / "file")) as stack:
        _, said = stack.communicate(timeout=LIMIT_SECONDS)

    assert stack.returncode == 2
    assert len(said.splitlines()) == 1
    assert "Not a directory" in said
    assert "choose other ports" not in said


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The producer's install has no server to start."""
    monkeypatch.setattr(redis_server, "find_spec", lambda _: None)

    assert main(["stack"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'topicserve[embedded]'" in said
    assert "ports" not in said


@pytest.mark.parametrize(
    ("number", "is_asked"), [(0, False), (signal.SIGTERM, True), (signal.SIGINT, True)]
)
def test_a_stop_and_a_continue_end_nothing(
    monkeypatch: pytest.MonkeyPatch, number: int, is_asked: bool
) -> None:
    """What was waited for has no number then."""
    found = signal.struct_siginfo((number, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: found)

    assert is_asked_to_end() is is_asked
