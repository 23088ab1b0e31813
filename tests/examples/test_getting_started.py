"""docs/getting_started.md, typed as it stands there."""

import re
import shlex
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.support.processes.child_process import ChildProcess
from topicserve.cli.commands import parser_of
from topicserve.embedded.stack import Stack

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs/getting_started.md").read_text()
LIMIT_SECONDS = 90.0
FENCES = re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PROGRAMS = {name: text for kind, name, text in FENCES if kind == "python"}
COMMANDS = {name: text for kind, name, text in FENCES if kind == "console"}
OUTPUTS = [text for kind, name, text in FENCES if (kind, name) == ("text", "output")]


class Reader:
    """Types what the page says, in a folder of its own, with the addresses of these servers."""

    def __init__(self, folder: Path, servers: Stack) -> None:
        self._folder = folder
        self._servers = servers

    def here(self, text: str) -> str:
        """Return a text of the page with the addresses that there are here."""
        text = text.replace("redis://127.0.0.1:6379", self._servers.redis_url)
        return text.replace("127.0.0.1:9092", self._servers.bootstrap_servers)

    def words(self, command: str) -> list[str]:
        """Return the words of one command, its program found in this environment."""
        program, *words = shlex.split(self.here(command).replace("\\\n", " "))
        module = {"python": [], "topicserve": ["-m", "topicserve"]}[program]
        return [sys.executable, *module, *words]

    def type(self, commands: str) -> str:
        """Run commands, one a line, and return what they printed."""
        printed = []
        for command in commands.splitlines():
            done = subprocess.run(
                [*self.words(command), *self._own_servers(command)],
                cwd=self._folder,
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            printed.append(done.stdout)
        return "".join(printed)

    def _own_servers(self, command: str) -> list[str]:
        """Give `topicserve results` the address that the page leaves to the default."""
        is_default = command.startswith("topicserve results")
        return ["--bootstrap-servers", self._servers.bootstrap_servers] if is_default else []


@pytest.fixture
def reader(servers: Stack, tmp_path: Path) -> Reader:
    """Save the programs of the page."""
    reader = Reader(tmp_path, servers)
    (tmp_path / "models/prices").mkdir(parents=True)
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(reader.here(text))
    return reader


def wait_for_version(line: str, version: int) -> None:
    """Ask the worker, as the page says, until it has this version."""
    (address,) = re.findall(r"http://\S+:\d+", line)
    url = f"{address}/v1/models/prices/versions/{version}"
    for _ in range(int(LIMIT_SECONDS * 10)):
        with suppress(HTTPError), urlopen(url, timeout=LIMIT_SECONDS) as page:
            if b'"AVAILABLE"' in page.read():
                return
        threading.Event().wait(0.1)
    raise AssertionError(f"version {version} did not become available")


def by_line(text: str) -> list[str]:
    """Return lines in order of the alphabet: partitions are read in any order."""
    return sorted(text.splitlines())


def test_every_step_does_what_the_page_says(reader: Reader, tmp_path: Path) -> None:
    """A model, a worker, a producer, a consumer, a dead letter, and a version swap."""
    reader.type(COMMANDS["model"])
    command = [
        word.replace("models/", f"{tmp_path}/models/") for word in reader.words(COMMANDS["worker"])
    ]
    with ChildProcess(command, tmp_path / "worker.log") as worker:
        address = worker.read_line(LIMIT_SECONDS)
        first = reader.type(COMMANDS["run"])
        dead_letter = reader.type(COMMANDS["dead"])
        reader.type(COMMANDS["swap"])
        wait_for_version(address, 2)
        second = reader.type(COMMANDS["again"])

    assert [by_line(first), by_line(second)] == [by_line(text) for text in OUTPUTS]
    assert '"invalid_input"' in dead_letter


def test_the_stack_is_started_with_flags_that_there_are() -> None:
    """The test has servers of its own in its place."""
    words = shlex.split(COMMANDS["stack"])[1:]

    assert vars(parser_of("stack").parse_args(words))["kafka_port"] == 9092
