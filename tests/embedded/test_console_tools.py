"""Apache Kafka's own console tools, from its jars, against the embedded broker."""

from collections.abc import Callable

import pytest

from tests.support.kafka.kafka_jars import run_tool
from topicserve.embedded.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka

Tool = Callable[..., str]


@pytest.fixture
def tool(broker: KafkaServer) -> Tool:
    """Run a tool against the broker."""

    def run(name: str, *arguments: str, stdin: str = "") -> str:
        return run_tool(name, ["--bootstrap-server", broker.bootstrap_servers, *arguments], stdin)

    return run


def table(text: str) -> list[dict[str, str]]:
    """Return the rows of a table that a tool has printed."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return [dict(zip(lines[0], row, strict=False)) for row in lines[1:]]


def test_topics_are_created_described_grown_and_deleted(tool: Tool) -> None:
    """kafka-topics does what it does everywhere."""
    tool("kafka-topics", "--create", "--topic", "tools", "--partitions", "3")
    assert "tools" in tool("kafka-topics", "--list").split()
    tool("kafka-topics", "--alter", "--topic", "tools", "--partitions", "5")

    described = tool("kafka-topics", "--describe", "--topic", "tools")

    assert "PartitionCount: 5" in described
    assert described.count("Leader: 1") == 5
    tool("kafka-topics", "--delete", "--topic", "tools")
    assert "tools" not in tool("kafka-topics", "--list").split()


def test_what_the_console_producer_writes_the_console_consumer_reads(tool: Tool) -> None:
    """Keys, values and headers go through; the group's progress can be looked at and taken back."""
    properties = ("--reader-property", "parse.key=true", "--reader-property", "parse.headers=true")
    lines = "".join(f"h:{n}\tkey{n}\tvalue{n}\n" for n in range(100))
    tool("kafka-console-producer", "--topic", "lines", *properties, stdin=lines)

    printed = [f"print.{part}=true" for part in ("key", "headers")]
    read = tool(
        "kafka-console-consumer",
        *("--topic", "lines", "--group", "tools", "--from-beginning", "--max-messages", "100"),
        *(word for each in printed for word in ("--formatter-property", each)),
    )

    assert sorted(read.splitlines()) == sorted(lines.splitlines())
    assert "tools" in tool("kafka-consumer-groups", "--list").split()
    rows = table(tool("kafka-consumer-groups", "--describe", "--group", "tools"))
    assert sum(int(row["CURRENT-OFFSET"]) for row in rows) == 100
    assert {row["LAG"] for row in rows} == {"0"}
    reset = ("--reset-offsets", "--to-earliest", "--all-topics", "--execute")
    tool("kafka-consumer-groups", "--group", "tools", *reset)
    rows = table(tool("kafka-consumer-groups", "--describe", "--group", "tools"))
    assert sum(int(row["LAG"]) for row in rows) == 100
    tool("kafka-consumer-groups", "--delete", "--group", "tools")
    assert "tools" not in tool("kafka-consumer-groups", "--list").split()
