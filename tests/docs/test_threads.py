"""The architecture page lists the threads that a worker starts."""

import ast
from collections.abc import Iterator

import pytest

from tests.support.docs.pages import CHECKOUT

PAGE = (CHECKOUT / "docs/architecture.md").read_text()

MAKERS = ("Thread", "DaemonThreads")


def names() -> Iterator[str]:
    """Yield the names that are written where threads are made, without a number behind them."""
    for package in ("worker", "backends", "servables"):
        for path in (CHECKOUT / "topicserve" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(MAKERS):
                    texts = [*node.args, *(one.value for one in node.keywords if one.arg == "name")]
                    for text in (part for one in texts for part in ast.walk(one)):
                        value = text.value if isinstance(text, ast.Constant) else None
                        if isinstance(value, str) and value.strip("-"):
                            yield value


@pytest.mark.parametrize("name", sorted(set(names())))
def test_every_thread_is_on_the_page(name: str) -> None:
    """A person who reads a traceback of all threads looks for it there."""
    assert f"`{name}" in PAGE
