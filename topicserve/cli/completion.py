"""`topicserve completion`: a script with which a shell completes commands, flags and choices.

It is made from the same parsers that read the command line, so it has no list of its own.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from topicserve.cli.standard_streams import need_output, write_output

EXAMPLE = """\
example: topicserve completion bash

Put the script where the shell looks for it:
  bash   ~/.local/share/bash-completion/completions/topicserve
  zsh    at the end of ~/.zshrc
  fish   ~/.config/fish/completions/topicserve.fish
"""
SHELLS = ("bash", "zsh", "fish")

_BASH = """\
_topicserve() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
    local path="" word words=""
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
            {paths}) path="$path $word" ;;
        esac
    done
    case "$path $previous" in
{choices}
    esac
    if [[ -z $words ]]; then
        case "$path" in
{words}
        esac
        # A value of a flag, or a file: the shell's own completion.
        [[ $current != -* && -n $path && $words == -* ]] && words=""
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _topicserve topicserve
"""
_ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"


@dataclass(frozen=True, slots=True)
class Node:
    """A command, or the program itself, with the words that may follow."""

    path: tuple[str, ...]
    commands: dict[str, str]
    """The commands below, each with its summary."""
    flags: dict[str, str]
    """Each with its text."""
    choices: dict[str, tuple[str, ...]]
    """The values of flags that take one of a list."""
    first: tuple[str, ...]
    """The values of a first argument that takes one of a list."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the shell."""
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=SHELLS, help="which shell reads it")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    need_output()
    # Here: the commands import this module.
    from topicserve.cli.commands import COMMANDS, parser_of

    nodes = [node for node in _nodes((), parser_of(None)) if not node.path]
    for name in COMMANDS:
        nodes += [node for node in _nodes((), parser_of(name)) if node.path[:1] == (name,)]
    script = fish(nodes) if arguments.shell == "fish" else bash(nodes)
    prefix = _ZSH if arguments.shell == "zsh" else ""
    write_output(f"{prefix}{script}".encode(), flush=True)
    return 0


def bash(nodes: list[Node]) -> str:
    """Return the script for bash; zsh reads it too."""
    paths = [f'"{_joined(node.path)}"' for node in nodes if node.path]
    choices = [
        f'        "{_joined(node.path)} {flag}") words="{" ".join(values)}" ;;'
        for node in nodes
        for flag, values in node.choices.items()
    ]
    words = [
        f'            "{_joined(node.path)}") '
        f'words="{" ".join([*node.commands, *node.first, *node.flags])}" ;;'
        for node in nodes
    ]
    return _BASH.format(paths=" | ".join(paths), choices="\n".join(choices), words="\n".join(words))


def fish(nodes: list[Node]) -> str:
    """Return the script for fish, with the texts of --help."""
    return "".join(f"{line}\n" for node in nodes for line in _fish_lines(node))


def _fish_lines(node: Node) -> Iterator[str]:
    conditions = [f"__fish_seen_subcommand_from {word}" for word in node.path]
    if node.commands:
        conditions.append(f"not __fish_seen_subcommand_from {' '.join(node.commands)}")
    start = f'complete -c topicserve -n "{"; and ".join(conditions) or "true"}"'
    for word, text in node.commands.items():
        yield f"{start} -f -a {word} -d {_quoted(text)}"
    for word in node.first:
        yield f"{start} -f -a {word}"
    for flag, text in node.flags.items():
        values = node.choices.get(flag)
        takes = f" -x -a {_quoted(' '.join(values))}" if values else ""
        yield f"{start} -l {flag.removeprefix('--')} -d {_quoted(text)}{takes}"


def _nodes(path: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[Node]:
    """Yield a parser and those below it."""
    commands: dict[str, str] = {}
    below: dict[str, argparse.ArgumentParser] = {}
    flags: dict[str, str] = {}
    choices: dict[str, tuple[str, ...]] = {}
    first: tuple[str, ...] = ()
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            below = dict(action.choices)
            commands = {one.dest: one.help or "" for one in action._choices_actions}  # noqa: SLF001
        elif action.help is not argparse.SUPPRESS:
            long = [word for word in action.option_strings if word.startswith("--")]
            values = tuple(map(str, action.choices or ()))
            flags |= {word: _text(action, parser) for word in long}
            choices |= {word: values for word in long if values}
            first = values if not action.option_strings else first
    yield Node(path, commands, flags, choices, first)
    for name, one in below.items():
        yield from _nodes((*path, name), one)


def _text(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    formatter = parser._get_formatter()  # noqa: SLF001
    return formatter._expand_help(action) if action.help else ""  # noqa: SLF001


def _joined(path: tuple[str, ...]) -> str:
    return "".join(f" {word}" for word in path)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
