"""Nothing that others chose changes a terminal, whichever command prints it."""

import argparse
import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.support.stages.dead_letters import a_dead_record
from topicserve import cli
from topicserve.cli import commands
from topicserve.cli.check.command import _text_teller
from topicserve.cli.check.findings import Finding, Severity
from topicserve.cli.commands import COMMANDS, run_command
from topicserve.cli.dead_letters.entry import decode_entry
from topicserve.cli.errors import UsageError
from topicserve.cli.publish.json_lines import read_record
from topicserve.cli.results.lines import line_of
from topicserve.cli.results.unread import InvalidRecords
from topicserve.cli.terminal import counted, json_line
from topicserve.printable import printable
from topicserve.wire.errors import InvalidRecordError

FOLDER = Path(cli.__file__).parent
HOSTILE = "\x1b[31mRED \x1b]0;title\x07 \x9b31m \u202eabc \x7f \r\n \u2028 \U000e0041 [bold]x[/y]"
# They print counts and addresses of their own, and nothing that was read.
OWN_TEXT = {"progress.py", "replay/progress.py", "stack.py", "worker/startup.py"}
# `write_output` takes lines of `json_line` there, and a script of ours.
OWN_BYTES = {"terminal.py", "results/command.py", "dead_letters/list.py", "completion.py"}


def calls_of(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call of a function with arguments, in the modules of all commands."""
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                is_flush = bool(node.args) and ast.unparse(node.args[0]) == "b''"
                if node.func.id == name and not is_flush:
                    yield str(path.relative_to(FOLDER)), node


def test_commands_print_through_one_module() -> None:
    """What another module printed by itself would reach the terminal as others chose it."""
    assert {path for path, _ in calls_of("print")} - OWN_TEXT == {"terminal.py"}
    assert {path for path, _ in calls_of("write_output")} <= OWN_BYTES
    assert not {path for path, _ in calls_of("json_bytes")} - {"terminal.py"}


@given(st.text(st.characters() | st.sampled_from(HOSTILE)))
def test_any_text_is_printable_in_one_line(text: str) -> None:
    """It is escaped once: what is escaped already stays so."""
    shown = printable(text)

    assert shown.isprintable()
    assert printable(shown) == shown
    assert not text.isprintable() or shown == text


@given(st.dictionaries(st.text(), st.text(st.characters(codec="utf-8") | st.sampled_from(HOSTILE))))
def test_any_json_is_printable_with_the_same_content(content: dict[str, str]) -> None:
    """For JSON's readers nothing changes."""
    try:
        expected = orjson.dumps(content)
    except TypeError:
        return  # a lone surrogate is no JSON

    line = json_line(content)

    assert line.decode().isprintable()
    assert json.loads(line) == orjson.loads(line) == orjson.loads(expected)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_error_of_any_command_is_printable(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its text may have what a producer, a server or a file chose."""

    def fail(_: argparse.Namespace) -> int:
        raise UsageError(HOSTILE)

    parser = argparse.ArgumentParser()
    parser.set_defaults(run=fail)
    monkeypatch.setattr(commands, "parser_of", lambda _: parser)

    assert run_command(command, []) == 2

    told = capfd.readouterr().err
    assert told.removesuffix("\n").isprintable()
    assert "\\x1b[31mRED" in told


def test_an_unknown_flag_is_told_printably(capfd: pytest.CaptureFixture[str]) -> None:
    """The words of a command may come from a script that has read them."""
    with pytest.raises(SystemExit):
        run_command("results", ["results", "--topic=a", "--\x1b[31m\x9b\u202eRED"])

    told = capfd.readouterr().err
    assert "--\\x1b[31m\\x9b\\u202eRED" in told
    assert not set(told) & set("\x1b\x9b\u202e")


def test_an_unknown_key_of_a_line_is_told_printably() -> None:
    """The error itself has the key as it was read; what is told of it is escaped."""
    with pytest.raises(InvalidRecordError) as caught:
        read_record(orjson.dumps({HOSTILE: 1}))

    assert "\\x1b[31mRED" in printable(str(caught.value))


def test_dead_letters_are_printed_as_printable_json(capfd: pytest.CaptureFixture[str]) -> None:
    """Of a result and of a record that is passed over, too: both go the same way."""
    record = a_dead_record(
        0,
        message=HOSTILE,
        value=orjson.dumps({"instance": HOSTILE}),
        headers=[(HOSTILE, b"\xc2\x9b")],
    )

    line = line_of(decode_entry(record).letter)
    InvalidRecords().tell(record, InvalidRecordError("id", HOSTILE))

    assert line.decode().removesuffix("\n").isprintable()
    assert json.loads(line)["message"] == HOSTILE
    assert capfd.readouterr().err.removesuffix("\n").isprintable()


def test_a_finding_is_printed_printably(capfd: pytest.CaptureFixture[str]) -> None:
    """A server's or a model's words are in it; brackets are no markup."""
    _text_teller()(Finding(Severity.PROBLEM, HOSTILE, HOSTILE))

    told = capfd.readouterr().out
    assert told.removesuffix("\n").isprintable()
    assert "[bold]x[/y]" in told


def test_names_in_a_status_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of the name [/x] would end the command with an error."""
    from topicserve.cli.status import screen

    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    console: Console = screen.open_console()
    table = screen._table("worker")
    table.add_row(printable("[/x] :boom: [red]"))
    console.print(table)

    assert "[/x] :boom: [red]" in output.getvalue()


def test_one_thing_is_told_in_the_singular() -> None:
    """As every other number is in the plural."""
    assert [counted(n, "record") for n in (0, 1, 2, 1000)] == [
        "0 records",
        "1 record",
        "2 records",
        "1,000 records",
    ]
