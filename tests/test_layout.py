"""Folders and files stay of a size that a person can take in."""

from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
MODULES = sorted(
    path
    for folder in ("topicserve", "tools")
    for path in (CHECKOUT / folder).rglob("*.py")
    if path.name != "__init__.py"
)
FOLDERS = sorted({path.parent for path in MODULES})
MAX_MODULES = 15
# Most files have fewer than 250 lines; what is longer does one thing.
MAX_LINES = 350


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda one: str(one.relative_to(CHECKOUT)))
def test_a_folder_has_few_modules(folder: Path) -> None:
    """One that grows beyond that has parts, which are folders of their own."""
    assert len([path for path in MODULES if path.parent == folder]) <= MAX_MODULES


def test_files_are_short() -> None:
    """One that grows beyond that is split by what its parts are for."""
    sizes = {
        str(path.relative_to(CHECKOUT)): len(path.read_text().splitlines()) for path in MODULES
    }

    assert {path: lines for path, lines in sizes.items() if lines > MAX_LINES} == {}


def test_nearly_all_files_have_fewer_than_250_lines() -> None:
    """So that a long one is an exception with a reason."""
    long = [path for path in MODULES if len(path.read_text().splitlines()) > 250]

    assert len(long) / len(MODULES) < 0.08
