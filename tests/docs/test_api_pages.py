"""The API reference goes by public names, and has all of them."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import topicserve
from tools.reference_pages import CHECKOUT
from tools.site_hooks import home_of
from topicserve import bodies

PAGES = {
    "topicserve": CHECKOUT / "docs/api/producer.md",
    "topicserve.servables": CHECKOUT / "docs/api/servables.md",
    "topicserve.bodies": CHECKOUT / "docs/api/bodies.md",
}
NAME = r"^::: (topicserve(?:\.\w+)*)\.(\w+)$"
MENTIONED = r"\b(topicserve\.(?:servables|bodies))\.(\w+)"


def names_on(package: str) -> list[str]:
    """Return the names of a package that its page shows."""
    pattern = rf"^::: {re.escape(package)}\.(\w+)$"
    return re.findall(pattern, PAGES[package].read_text(), re.MULTILINE)


@pytest.mark.parametrize("package", [topicserve, bodies], ids=lambda one: one.__name__)
def test_every_public_name_is_on_the_page(package: Any) -> None:
    """Of the producer's side and of bodies, and none that is not public."""
    assert sorted(names_on(package.__name__)) == sorted(package.__all__)


@pytest.mark.parametrize(
    "page", sorted(CHECKOUT.glob("docs/**/*.md")), ids=lambda one: str(one.relative_to(CHECKOUT))
)
def test_every_name_can_be_imported_from_where_a_page_says(page: Path) -> None:
    """As `from topicserve.servables import Name`, on each page of the documentation."""
    named = re.findall(NAME if page.parent.name == "api" else MENTIONED, page.read_text(), re.M)

    for package, name in named:
        assert name in import_module(package).__all__
        assert hasattr(import_module(package), name)


@pytest.mark.parametrize("package", PAGES)
def test_every_name_is_found_wherever_its_module_is(package: str) -> None:
    """So a module that moves needs no change of the page."""
    assert len(names_on(package)) > 10
    for name in names_on(package):
        assert home_of(package, name).startswith("topicserve.")
    with pytest.raises(LookupError):
        home_of(package, "NoSuchName")
