"""Which words the tests' assertions compare: names of metrics, labels, log events and fields.

A word counts for a test where an `assert` of it compares something with something, and the word
stands in that expression; in what a name of the expression was assigned, looped over or
parametrized with; or in a function of the tests that the expression calls, as far as it is known.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.docs.pages import CHECKOUT

TESTS = CHECKOUT / "tests"
SUPPORT = TESTS / "support"
# Where workers and the command line are tested: what else there is would only take time to read.
FOLDERS = ("worker", "cli", "conformance/port", "e2e", "support")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Asserted(NamedTuple):
    """A test, and the words that its assertions compare."""

    path: str
    test: str
    words: frozenset[str]


@cache
def assertions() -> tuple[Asserted, ...]:
    """Return the assertions of every test of workers and of the command line."""
    trees = {path: ast.parse(path.read_text()) for path in _modules()}
    shared = _functions(tree for path, tree in trees.items() if path.is_relative_to(SUPPORT))
    return tuple(
        Asserted(path.relative_to(TESTS).as_posix(), test.name, _words(test, helpers))
        for path, tree in trees.items()
        for helpers in [shared | _functions([tree])]
        for test in ast.walk(tree)
        if isinstance(test, Function) and test.name.startswith("test_")
    )


def _modules() -> list[Path]:
    return [path for folder in FOLDERS for path in (TESTS / folder).rglob("*.py")]


def _functions(trees: Iterable[ast.Module]) -> dict[str, list[Function]]:
    found = defaultdict(list)
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, Function):
                found[node.name].append(node)
    return dict(found)


def _words(test: Function, helpers: dict[str, list[Function]]) -> frozenset[str]:
    """Return the words of a test's comparisons, following names and calls."""
    bound = _bound(test)
    pending: list[ast.AST] = [
        node.test
        for node in ast.walk(test)
        if isinstance(node, ast.Assert)
        and any(isinstance(part, ast.Compare) for part in ast.walk(node.test))
    ]
    seen: set[int] = set()
    words: set[str] = set()
    while pending:
        node = pending.pop()
        if id(node) in seen or node is test:
            continue
        seen.add(id(node))
        parts = _parts(node)
        words |= parts.constants
        for name in parts.names:
            pending += bound.get(name, [])
        for name in parts.called:
            pending += helpers.get(name, [])
    return frozenset(words)


def _bound(test: Function) -> dict[str, list[ast.AST]]:
    """Return what each name of a test stands for: assigned, looped over or parametrized."""
    found: dict[str, list[ast.AST]] = defaultdict(list)
    for node in ast.walk(test):
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs: list[tuple[ast.AST, ast.AST]] = [(target, value) for target in targets]
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                pairs = [(target, value)]
            case _:
                pairs = []
        for bound_to, stands_for in pairs:
            for part in ast.walk(bound_to):
                if isinstance(part, ast.Name):
                    found[part.id].append(stands_for)
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and len(decorator.args) > 1:
            for word in _constants(decorator.args[0]):
                for name in word.split(","):
                    found[name.strip()].append(decorator.args[1])
    return found


class _Parts(NamedTuple):
    """What stands below a node."""

    constants: frozenset[str]
    names: frozenset[str]
    called: frozenset[str]


@cache
def _parts(node: ast.AST) -> _Parts:
    names, called = set(), set()
    for part in ast.walk(node):
        match part:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                called.add(name)
            case ast.Name(id=name):
                names.add(name)
    return _Parts(frozenset(_constants(node)), frozenset(names), frozenset(called))


def _constants(node: ast.AST) -> Iterator[str]:
    """Yield the texts, the names of keywords and those of attributes below a node."""
    for part in ast.walk(node):
        match part:
            case ast.Constant(value=str() as text):
                yield text
            case ast.Constant(value=bytes() as raw):
                yield raw.decode(errors="replace").strip()
            case ast.keyword(arg=str() as name) | ast.Attribute(attr=name):
                yield name
