"""docs/faults.md and docs/guarantees.md name, for each row, a test that there is."""

import re
from pathlib import Path

import pytest

from tools.reference_pages import CHECKOUT

PAGES = {
    "faults.md": CHECKOUT / "docs/faults.md",
    "guarantees.md": CHECKOUT / "docs/guarantees.md",
}
_NAMED = re.compile(r"`([a-z0-9_/]+\.py)(?:::(test_[a-z0-9_]+))?`")
NAMED = {name: _NAMED.findall(page.read_text()) for name, page in PAGES.items()}


@pytest.mark.parametrize(
    ("path", "name"), [one for found in NAMED.values() for one in found], ids=str
)
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    """A test that is renamed or taken out is so on the page as well."""
    text = (CHECKOUT / "tests" / path).read_text()

    assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_row_names_a_test(page: str) -> None:
    """A fault or a promise without one is not held."""
    rows = [line for line in PAGES[page].read_text().splitlines() if line.startswith("| ")]
    claims = [row for row in rows if not row.startswith(("| Fault", "| Promise"))]

    assert [row for row in claims if not _NAMED.search(row)] == []
    assert len(NAMED[page]) == len(claims) > 30
    assert all(Path(path).suffix == ".py" for path, _ in NAMED[page])


def test_every_promise_names_one_test() -> None:
    """A file alone could lose the one test that holds it."""
    assert [path for path, name in NAMED["guarantees.md"] if not name] == []
