import shutil
import subprocess
from pathlib import Path

import pytest

from topicserve.cli.commands import COMMANDS
from topicserve.cli.main import main

LIMIT_SECONDS = 30


def script(capsys: pytest.CaptureFixture[str], shell: str) -> str:
    """Return the script of a shell."""
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture
def bash_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Write bash's script."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not here")
    path = tmp_path / "topicserve.bash"
    path.write_text(script(capsys, "bash"))
    return path


def completed(path: Path, *words: str) -> list[str]:
    """Return what bash would offer for the last word."""
    typed = " ".join(f"'{word}'" for word in ("topicserve", *words))
    code = f"source {path}; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _topicserve"
    done = subprocess.run(
        ["bash", "-c", f'{code}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_are_completed(bash_script: Path) -> None:
    """Those of the program, and those below a command."""
    assert {*COMMANDS} < {*completed(bash_script, "")}
    assert completed(bash_script, "re") == ["results", "replay"]
    assert completed(bash_script, "dead-letters", "") == ["list", "show", "replay", "--help"]
    assert completed(bash_script, "dead-letters", "s") == ["show"]


def test_flags_and_their_choices_are_completed(bash_script: Path) -> None:
    """Of the command that was typed; files are left to the shell."""
    assert completed(bash_script, "replay", "--out") == ["--output-topic"]
    assert completed(bash_script, "status", "--client", "") == ["kafka-python", "confluent"]
    assert completed(bash_script, "completion", "f") == ["fish"]
    assert completed(bash_script, "worker", "--config", "") == []
    assert completed(bash_script, "worker", "--supervised") == []


def test_a_flag_of_one_command_is_not_offered_for_another(bash_script: Path) -> None:
    """Replaying dead letters is not replaying a range."""
    assert completed(bash_script, "dead-letters", "replay", "--serv") == ["--servable"]
    assert completed(bash_script, "dead-letters", "replay", "--output") == []


def test_zsh_reads_what_bash_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """Through its own module for that."""
    zsh = script(capsys, "zsh")

    assert zsh.splitlines()[0].endswith("bashcompinit")
    assert zsh.endswith(script(capsys, "bash"))


def test_fish_has_the_texts_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command and flag with one, quoted."""
    lines = script(capsys, "fish").splitlines()

    assert (
        'complete -c topicserve -n "__fish_seen_subcommand_from replay" -l output-topic '
        "-d 'where results go'"
    ) in lines
    assert any("-f -a status -d 'show lag" in line for line in lines)
    assert all(line.count("'") % 2 == line.count("\\'") % 2 for line in lines)
