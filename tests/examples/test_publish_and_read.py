"""The README's way through: stack, worker, a program of one's own, and the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from topicserve.embedded.stack import Stack

CHECKOUT = Path(__file__).parents[2]
LIMIT_SECONDS = 60.0
TOPICSERVE = (sys.executable, "-m", "topicserve")


@pytest.fixture(scope="module")
def stack(servers: Stack, serve_capitals: Callable[[str, str], None]) -> Stack:
    """Run both servers, and a worker that was started as the README says."""
    serve_capitals("records", "results")
    return servers


def run(*command: str, stdin: bytes = b"") -> bytes:
    """Run a program in the checkout and return what it printed."""
    done = subprocess.run(
        command, cwd=CHECKOUT, input=stdin, capture_output=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_the_example_publishes_and_reads(stack: Stack) -> None:
    """Results come with the metadata of their records, and the version that spoke."""
    printed = run(
        sys.executable, "examples/publish_and_read.py", stack.bootstrap_servers, stack.redis_url
    )

    assert sorted(printed.decode().splitlines()) == [
        "Nairobi (version 1, metadata {'row': 2})",
        "Paris (version 1, metadata {'row': 0})",
        "Tokyo (version 1, metadata {'row': 1})",
    ]


def test_a_file_is_published_and_its_results_are_printed(
    servers: Stack, serve_capitals: Callable[[str, str], None]
) -> None:
    """From the command line alone, with the group's offsets kept from one call to the next."""
    serve_capitals("file-records", "file-results")
    kafka = ("--bootstrap-servers", servers.bootstrap_servers)
    publish = (*TOPICSERVE, "publish", "deploy/compose/records.jsonl", "--topic=file-records")
    read = (*TOPICSERVE, "results", "--topic=file-results", "--group=readers", "--follow", *kafka)

    run(*publish, "--servable=capitals", *kafka, "--redis-url", servers.redis_url)
    earlier = run(*read, "--limit=3").splitlines()
    later = run(*read, "--limit=9").splitlines()

    assert (len(earlier), len(later)) == (3, 9)
    results = [orjson.loads(line) for line in (*earlier, *later)]
    assert {result["metadata"]["row"]: result["prediction"] for result in results}[3] == "Lima"
    assert sorted(result["metadata"]["row"] for result in results) == list(range(12))


def test_dead_letters_are_printed_with_their_reasons(stack: Stack) -> None:
    """A record that the servable refuses is told, not lost."""
    servers = ("--bootstrap-servers", stack.bootstrap_servers)
    read = (*TOPICSERVE, "results", "--topic=records.dead-letter", "--dead-letters", *servers)

    run(*TOPICSERVE, "publish", "-", "--topic=records", *servers, stdin=b'{"instance": [[1], [2]]}')
    (line,) = run(*read, "--limit=1", "--follow").splitlines()

    letter = orjson.loads(line)
    assert letter["reason"] == "invalid_input"
    assert orjson.loads(letter["value"]) == {"instance": [[1], [2]]}
