"""One stack for all examples, and a worker that serves `capitals` for those that ask for one."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes.child_process import ChildProcess
from topicserve.embedded.stack import Stack

LIMIT_SECONDS = 60.0


@pytest.fixture(scope="package")
def servers() -> Iterator[Stack]:
    """Run both servers."""
    with Stack() as running:
        yield running


@pytest.fixture(scope="package")
def serve_capitals(
    servers: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str], None]]:
    """Return what starts a worker from an input topic to an output topic, as the README says."""
    with ExitStack() as opened:

        def serve(input_topic: str, output_topic: str) -> None:
            command = [
                *(sys.executable, "-m", "topicserve", "worker"),
                *("--bootstrap-servers", servers.bootstrap_servers),
                *("--redis-url", servers.redis_url, "--group", f"of-{input_topic}"),
                *("--input-topic", input_topic, "--output-topic", output_topic),
                *("--create-topics", "4"),
                *("--servable", "capitals=deploy/compose/models/capitals"),
                *("--set", "servables.capitals.kind=hashmap"),
            ]
            log: Path = tmp_path_factory.mktemp("worker") / "worker.log"
            opened.enter_context(ChildProcess(command, log)).read_line(LIMIT_SECONDS)

        yield serve
