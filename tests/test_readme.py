import ast
import re
import shlex
from pathlib import Path

from topicserve.cli.commands import EXTRAS, parser_of

CHECKOUT = Path(__file__).parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")


def test_the_program_in_the_readme_is_the_example() -> None:
    """The example is run by the tests, so what a reader copies works."""
    (shown,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    example = ast.parse((CHECKOUT / "examples/publish_and_read.py").read_text(encoding="utf-8"))
    del example.body[0]  # the docstring: the README says the same in its own words

    assert ast.dump(ast.parse(shown)) == ast.dump(example)


def test_every_command_in_the_readme_is_one() -> None:
    """Commands, flags and their values are taken by the program's own parser."""
    indented = re.findall(r"^    topicserve [^\n\\]*(?:\\\n[^\n\\]*)*", README, re.MULTILINE)
    commands = [shlex.split(text.replace("\\\n", " "))[1:] for text in indented]

    assert {command[0] for command in commands} == {"demo", "stack", "worker", "publish", "results"}
    for command in commands:
        parser_of(command[0]).parse_args(command)


def test_what_the_commands_need_is_installed_before() -> None:
    """The README's own install is enough for its own quick start."""
    installed, _, quick_start = README.partition("To try it in a")
    commands = set(re.findall(r"^    topicserve (\w+)", quick_start, re.MULTILINE))

    assert commands == {"stack", "worker", "publish", "results"}
    for command in commands & EXTRAS.keys():
        assert f"pip install 'topicserve[{EXTRAS[command]}]'" in installed
