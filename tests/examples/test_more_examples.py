"""The examples of docs/examples.md that are beside the README's."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from topicserve.embedded.stack import Stack

CHECKOUT = Path(__file__).parents[2]
LIMIT_SECONDS = 60.0
INPUT, OUTPUT = "example-records", "example-results"


@pytest.fixture(scope="module")
def stack(servers: Stack, serve_capitals: Callable[[str, str], None]) -> Stack:
    """Run both servers, and a worker on topics of these examples' own."""
    serve_capitals(INPUT, OUTPUT)
    return servers


def run(name: str, *words: str, **environment: str) -> list[str]:
    """Run an example and return the lines that it printed, in order of the alphabet."""
    done = subprocess.run(
        [sys.executable, f"examples/{name}", *words],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def test_a_producer_without_our_code_is_answered_to_a_reader_on_asyncio(
    servers: Stack, serve_capitals: Callable[[str, str], None]
) -> None:
    """With the metadata that the producer stored, and committed for the group."""
    serve_capitals("plain-records", "plain-results")
    publish = ("plain_producer.py", servers.bootstrap_servers, servers.redis_url, "plain-records")
    published = run(*publish)
    read = (servers.bootstrap_servers, "plain-results", "readers")
    results = run("asyncio_reader.py", *read, "3")
    run(*publish)

    assert len(published) == 3
    assert results == [
        "Lima (version 1, metadata {'row': 0})",
        "Nairobi (version 1, metadata {'row': 2})",
        "Ottawa (version 1, metadata {'row': 1})",
    ]
    assert run("asyncio_reader.py", *read, "3") == results


def test_calls_that_wait_are_answered_or_told_why(stack: Stack) -> None:
    """Each with its own metadata; what is no country is a dead letter."""
    where = (stack.bootstrap_servers, stack.redis_url)

    assert run("predict.py", *where, INPUT, OUTPUT, f"{INPUT}.dead-letter") == [
        "7: refused, invalid_input",
        "Canada: Ottawa for user 1",
        "Kenya: Nairobi for user 2",
        "Peru: Lima for user 0",
    ]


def test_the_producer_without_our_code_has_30_lines_and_none_of_it() -> None:
    """Lines of code, as the page says."""
    text = (CHECKOUT / "examples/plain_producer.py").read_text()
    code = [line for line in text.partition('"""\n\n')[2].splitlines() if line]

    assert len(code) <= 30
    assert "import topicserve" not in text
    assert "from topicserve" not in text


def test_the_notebook_reads_its_own_run_and_plots_it(stack: Stack, tmp_path: Path) -> None:
    """Whatever else the topic holds."""
    picture = tmp_path / "capitals.png"

    printed = run(
        "notebook.py",
        KAFKA=stack.bootstrap_servers,
        REDIS=stack.redis_url,
        INPUT_TOPIC=INPUT,
        OUTPUT_TOPIC=OUTPUT,
        PICTURE=str(picture),
        MPLBACKEND="agg",
    )

    capitals = ("Lima", "Nairobi", "Ottawa", "Paris", "Tokyo")
    assert printed == [f"{capital:10} {'#' * 20} 20" for capital in capitals]
    assert picture.read_bytes().startswith(b"\x89PNG")
