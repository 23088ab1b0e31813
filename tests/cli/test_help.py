"""What `--help` says: every flag, an example that is taken, and names as they are written."""

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from topicserve.cli.commands import COMMANDS, parser_of

NAMES = ("Kafka", "Redis", "JSON", "TOML", "TensorFlow", "CloudEvents")
# Clients, flags, addresses, files and values are data.
DATA = re.compile(r"kafka-python|--[a-z-]+|redis://|\S+\.(toml|jsonl)|text or json|[=.{,]json\b")


def below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands below a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of every command, and of the commands below it."""
    for name in COMMANDS:
        pending = [below(parser_of(name))[name]]
        while pending:
            parser = pending.pop()
            yield parser
            pending += below(parser).values()


every_command = pytest.mark.parametrize("parser", list(parsers()), ids=lambda one: one.prog)


@every_command
def test_every_command_has_an_example_that_is_taken(parser: argparse.ArgumentParser) -> None:
    """It is read first, and copied."""
    text = (parser.epilog or "").replace("\\\n", " ")
    examples = re.findall(r"topicserve .*", text)

    assert examples
    for example in examples:
        _, command, *words = shlex.split(example)
        assert example.startswith(parser.prog)
        parser_of(command).parse_args([command, *words])


@every_command
def test_every_flag_says_what_it_is_for(parser: argparse.ArgumentParser) -> None:
    """In a phrase."""
    flags = [action for action in parser._actions if action.option_strings]

    assert [action.dest for action in flags if not action.help] == []


@every_command
def test_names_are_written_as_they_are(parser: argparse.ArgumentParser) -> None:
    """Kafka, not kafka."""
    text = DATA.sub("", parser.format_help())

    found = {found for name in NAMES for found in re.findall(rf"\b{name}\b", text, re.IGNORECASE)}
    assert found <= {*NAMES}


@every_command
def test_a_description_is_a_sentence(parser: argparse.ArgumentParser) -> None:
    """With a capital and a full stop."""
    assert re.fullmatch(r"[A-Z].*\.", parser.description or "")
