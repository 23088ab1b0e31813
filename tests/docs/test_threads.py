"""The architecture page lists the threads that a worker starts."""

import ast
from collections.abc import Iterator

import pytest

from tests.support.docs.pages import CHECKOUT

PAGE = (CHECKOUT / "docs/architecture.md").read_text()


def names() -> Iterator[str]:
    """Yield the names that are written where threads are made, without a number behind them."""
    for package in ("worker", "backends", "servables"):
        for path in (CHECKOUT / "topicserve" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Thread"):
                    yield from (
                        value.value
                        for keyword in node.keywords
                        if keyword.arg == "name"
                        for value in ast.walk(keyword.value)
                        if isinstance(value, ast.Constant) and str(value.value).strip("-")
                    )


@pytest.mark.parametrize("name", sorted(set(names())))
def test_every_thread_is_on_the_page(name: str) -> None:
    """A person who reads a traceback of all threads looks for it there."""
    assert f"`{name}" in PAGE
