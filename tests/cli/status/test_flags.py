from pathlib import Path

import pytest

from topicserve.cli.commands import parser_of
from topicserve.cli.errors import UsageError
from topicserve.cli.status.flags import Deployment, deployment_of

CONFIG = """
[kafka]
group_id = "digits"
client = "confluent"
bootstrap_servers = "kafka:9092"
settings."security.protocol" = "SSL"
[topics]
input = ["in"]
output = "out"
[http]
host = "0.0.0.0"
port = 8080
[[servables]]
name = "digits"
base_path = "/models/digits"
"""


def deployment(*words: str) -> Deployment:
    """Return what the flags stand for."""
    return deployment_of(parser_of("status").parse_args(["status", *words]))


def test_a_configuration_says_all_of_it(tmp_path: Path) -> None:
    """Also where a worker on this machine answers."""
    path = tmp_path / "worker.toml"
    path.write_text(CONFIG)

    found = deployment("--config", str(path))

    assert (found.group_id, found.topics, found.client) == ("digits", ("in",), "confluent")
    assert (found.bootstrap_servers, found.settings) == ("kafka:9092", {"security.protocol": "SSL"})
    assert (found.output_topic, found.dead_letter_topic) == ("out", "in.dead-letter")
    assert found.workers == ("http://127.0.0.1:8080",)


def test_flags_say_it_without_a_configuration() -> None:
    """The dead-letter topic has the name that workers give it."""
    found = deployment("--group", "g", "--topic", "a", "--topic", "b", "--worker", "http://w:1/")

    assert (found.group_id, found.topics, found.output_topic) == ("g", ("a", "b"), "")
    assert found.dead_letter_topic == "a.dead-letter"
    assert found.workers == ("http://w:1",)
    assert found.bootstrap_servers == "127.0.0.1:9092"


def test_a_group_without_topics_is_refused() -> None:
    """There would be nothing to look at."""
    with pytest.raises(UsageError, match="--group and --topic"):
        deployment("--group", "g")
