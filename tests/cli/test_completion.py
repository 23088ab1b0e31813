"""Each script is read by its own shell, which tells what it would offer."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes.programs import need_program
from topicserve.cli.commands import COMMANDS
from topicserve.cli.main import main

LIMIT_SECONDS = 60
MARK = b"<completed>"
# The real `compadd` says which words fit what was typed; a widget of our own says that all is done.
ZSHRC = """
source {script}
compadd() {{
    local -a found
    builtin compadd -A found "$@"
    print -rl -- $found >> {offers}
    builtin compadd "$@"
}}
_marked() {{ zle complete-word; print -n '<comple''ted>' }}
zle -N _marked
bindkey '^I' _marked
"""

Complete = Callable[..., list[str]]
"""Returns what a shell offers for the last word of a command line, in its own order."""


def in_bash(script: Path, line: list[str]) -> list[str]:
    """Ask the function that the script declares."""
    typed = " ".join(f"'{word}'" for word in line)
    code = f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(line) - 1}; _topicserve"
    return said(need_program("bash", "bash"), "-c", f'{code}; printf "%s\\n" "${{COMPREPLY[@]}}"')


def in_fish(script: Path, line: list[str]) -> list[str]:
    """Ask fish itself; each offer has a text behind it."""
    fish = need_program("fish", "fish")
    lines = said(
        *(fish, "--no-config", "-c", f"source {script}; complete -C '{' '.join(line)}'"), cut="\n"
    )
    return [one.partition("\t")[0] for one in lines]


def in_zsh(script: Path, line: list[str]) -> list[str]:
    """Press the tabulator in a terminal: zsh completes nowhere else."""
    zsh = need_program("zsh", "zsh")
    offers = script.with_name("offers")
    offers.write_text("")
    script.with_name(".zshrc").write_text(ZSHRC.format(script=script, offers=offers))
    pid, terminal = pty.fork()
    if pid == 0:
        home = str(script.parent)
        os.execve(zsh, [zsh, "-i"], {"HOME": home, "ZDOTDIR": home, "TERM": "dumb", "PATH": ""})
    try:
        os.write(terminal, f"{' '.join(line)}\t".encode())
        read_until(terminal, MARK)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    return list(dict.fromkeys(offers.read_text().split()))


def read_until(terminal: int, mark: bytes) -> None:
    """Read what is on a terminal up to a mark."""
    shown, deadline = b"", time.monotonic() + LIMIT_SECONDS
    while mark not in shown:
        ready, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        assert ready, shown
        shown += os.read(terminal, 4096)


def said(*command: str, cut: str | None = None) -> list[str]:
    """Return the words, or the lines, that a shell prints; it must complain of nothing."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    assert done.stderr == ""
    return [one for one in done.stdout.split(cut) if one]


SHELLS = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}


def script_of(capsys: pytest.CaptureFixture[str], shell: str) -> str:
    """Return the script of a shell."""
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture(params=list(SHELLS))
def completed(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Complete:
    """Return how each shell in turn completes a command line."""
    path = tmp_path / "topicserve.script"
    path.write_text(script_of(capsys, request.param))
    return lambda *words: SHELLS[request.param](path, ["topicserve", *words])


def test_commands_are_completed(completed: Complete) -> None:
    """Those of the program, and those below a command."""
    assert {*COMMANDS} <= {*completed("")}
    assert {*completed("re")} == {"results", "replay"}
    assert {*completed("dead-letters", "")} - {"--help"} == {"list", "show", "replay"}
    assert completed("dead-letters", "s") == ["show"]


def test_flags_and_their_choices_are_completed(completed: Complete) -> None:
    """Of the command that was typed."""
    assert completed("replay", "--out") == ["--output-topic"]
    assert {*completed("status", "--client", "")} == {"kafka-python", "confluent"}
    assert completed("completion", "f") == ["fish"]
    assert completed("worker", "--supervised") == []


def test_files_are_left_to_the_shell(
    completed: Complete, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Where a flag takes something that is not on a list."""
    (tmp_path / "worker-7.toml").write_text("")

    offers = completed("worker", "--config", f"{tmp_path}/worker-")

    # bash takes its own completion of files where it is offered nothing; zsh offers each folder.
    is_bash = "bash" in request.node.name
    assert [Path(one).name for one in offers[-1:]] == ([] if is_bash else ["worker-7.toml"])


def test_a_flag_of_one_command_is_not_offered_for_another(completed: Complete) -> None:
    """Replaying dead letters is not replaying a range."""
    assert completed("dead-letters", "replay", "--serv") == ["--servable"]
    assert completed("dead-letters", "replay", "--output") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_texts_of_the_help_are_in_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each command and flag."""
    script = script_of(capsys, shell)

    assert "where results go" in script
    assert "show lag, members, rates, dead letters, and what workers wait for" in script
