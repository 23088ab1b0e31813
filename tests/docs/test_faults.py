import re
from pathlib import Path

import pytest

from tests.support.reference_pages import CHECKOUT

PAGE = CHECKOUT / "docs" / "faults.md"
NAMED = re.findall(r"`([a-z0-9_/]+\.py)(?:::(test_[a-z0-9_]+))?`", PAGE.read_text())


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda value: str(value))
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    """A test that is renamed or taken out is so on the page as well."""
    text = (CHECKOUT / "tests" / path).read_text()

    assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE)


def test_every_row_names_a_test() -> None:
    """A fault without one is not held."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.startswith("| Fault")]

    assert len(NAMED) == len(faults) > 30
    assert all(Path(path).suffix == ".py" for path, _ in NAMED)
