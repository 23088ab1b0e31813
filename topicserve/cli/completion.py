"""`topicserve completion`: a script with which a shell completes commands, flags and choices.

It is made from the same parsers that read the command line, so it has no list of its own.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from topicserve.cli.standard_streams import need_output, write_output

EXAMPLE = """\
example: topicserve completion bash

Put the script where the shell looks for it:
  bash   ~/.local/share/bash-completion/completions/topicserve
  zsh    at the end of ~/.zshrc, or in a folder of $fpath as _topicserve
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
# The same steps as in bash: a word is a command where it follows the commands before it.
_FISH = """\
function __topicserve_at
    set -l path ""
    for word in (commandline -opc)[2..-1]
        if contains -- "$path $word" {paths}
            set path "$path $word"
        end
    end
    test "$path" = "$argv[1]"
end
"""
_ZSH = """\
#compdef topicserve
_topicserve() {{
    local at= word
    local -a commands first flags
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$at $word" in
            ({paths}) at="$at $word" ;;
        esac
    done
    case "$at ${{words[CURRENT-1]}}" in
{choices}
    esac
    case "$at" in
{words}
    esac
    if [[ $words[CURRENT] == -* ]]; then
        _describe -o flag flags
    elif (( $#commands )); then
        _describe command commands
    elif (( $#first )); then
        compadd -a first
    else
        _files
    fi
}}
# From a file of $fpath it is called at once; in ~/.zshrc it is declared.
if [[ $funcstack[1] == _topicserve ]]; then
    _topicserve "$@"
else
    (( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
    compdef _topicserve topicserve
fi
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A command, or the program itself, with the words that may follow.

    The three shells' scripts are written from these alone.
    """

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
    script = {"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell](nodes)
    write_output(script.encode(), flush=True)
    return 0


def bash(nodes: list[Node]) -> str:
    """Return the script for bash, which shows words without their texts."""
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


def zsh(nodes: list[Node]) -> str:
    """Return the script for zsh, with the texts of --help."""
    paths = [f'"{_joined(node.path)}"' for node in nodes if node.path]
    choices = [
        f'        ("{_joined(node.path)} {flag}") compadd -- {" ".join(values)}; return ;;'
        for node in nodes
        for flag, values in node.choices.items()
    ]
    words = [
        f'        ("{_joined(node.path)}") {_zsh_list("commands", node.commands)} '
        f"first=({' '.join(node.first)}) {_zsh_list('flags', node.flags)} ;;"
        for node in nodes
    ]
    return _ZSH.format(paths="|".join(paths), choices="\n".join(choices), words="\n".join(words))


def _zsh_list(name: str, texts: Mapping[str, str]) -> str:
    told = [f"{word}:{text}".replace("'", "'\\''") for word, text in texts.items()]
    quoted = [f"'{one}'" for one in told]
    return f"{name}=({' '.join(quoted)})"


def fish(nodes: list[Node]) -> str:
    """Return the script for fish, with the texts of --help."""
    paths = " ".join(_quoted(_joined(node.path)) for node in nodes if node.path)
    lines = [f"{line}\n" for node in nodes for line in _fish_lines(node)]
    return _FISH.format(paths=paths) + "".join(lines)


def _fish_lines(node: Node) -> Iterator[str]:
    start = f'complete -c topicserve -n "__topicserve_at {_quoted(_joined(node.path))}"'
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
