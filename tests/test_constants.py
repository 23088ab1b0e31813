"""What is the same everywhere stands in one place."""

import ast
import re
from pathlib import Path

import pytest

import topicserve
from topicserve import exit_codes
from topicserve.backends import defaults

PACKAGE = Path(topicserve.__file__).parent
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if not path.name.endswith("_pb2.py")]


def modules_that_say(text: str) -> list[str]:
    """Return the modules in which a string is exactly this."""
    return [
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if text in path.read_text()
        and any(
            isinstance(node, ast.Constant) and node.value == text
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        defaults.KAFKA_PYTHON,
        defaults.CONFLUENT,
        defaults.DEFAULT_BOOTSTRAP_SERVERS,
        defaults.DEFAULT_REDIS_URL,
        defaults.DEFAULT_KEY_PREFIX,
    ],
)
def test_a_default_stands_in_one_place(text: str) -> None:
    """Else the library, the commands and the worker would look in different places."""
    assert modules_that_say(text) == ["backends/defaults.py"]


def test_the_name_of_the_id_among_the_inputs_stands_in_one_place() -> None:
    """The producer's side, the worker and the remote kind mean the same input."""
    assert modules_that_say("metadata_uid") == ["protos/metadata_uid.py"]


def test_exit_codes_stand_in_one_place() -> None:
    """So that a supervisor knows a worker's."""
    declared = {
        target.id
        for path in MODULES
        if path.name != "exit_codes.py"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and "EXIT" in target.id
    }

    assert declared == set()


def test_every_exit_code_is_on_the_page() -> None:
    """And no code is there that no process ends with."""
    page = (PACKAGE.parent / "docs/operations.md").read_text()
    rows = page.partition("### Exit codes")[2].partition("## ")[0]

    codes = {value for name, value in vars(exit_codes).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", rows, re.MULTILINE)} == codes
