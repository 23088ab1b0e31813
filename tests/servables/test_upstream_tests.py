"""docs/upstream_tests.md keeps to the tests that there are."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs/upstream_tests.md").read_text()
UPSTREAM_TESTS = 263

ROWS = re.findall(r"^\| (\w+\.\w+) \| (.+) \|$", PAGE, re.MULTILINE)
REFERENCES = sorted(set(re.findall(r"`([\w./]+\.py)(?:::(\w+))?`", PAGE)))


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the functions and the assigned names of a test module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((HERE / path).read_text())):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {one.id for one in node.targets if isinstance(one, ast.Name)}
    return frozenset(names)


def test_every_upstream_test_has_its_row() -> None:
    """Once."""
    names = [name for name, _ in ROWS]

    assert len(names) == len(set(names)) == UPSTREAM_TESTS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_a_test_or_a_reason(row: tuple[str, str]) -> None:
    """A reason is a sentence's length at least."""
    _, here = row

    assert re.fullmatch(r"`[\w./]+\.py::\w+`(, `[\w./]+\.py::\w+`)*|— \w.{20,}", here)


@pytest.mark.parametrize("reference", REFERENCES, ids="::".join)
def test_a_test_that_is_named_exists(reference: tuple[str, str]) -> None:
    """In the file that is named."""
    path, name = reference

    assert (HERE / path).is_file()
    assert not name or name in names_in(path)
