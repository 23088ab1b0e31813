"""Reads the pages that people read: their links, headings, code and commands."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from markdown.extensions.toc import slugify, unique

CHECKOUT = Path(__file__).parents[3]
DOCS = CHECKOUT / "docs"
TOP = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*TOP, *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_INDENTED = re.compile(r"(?:^\n|\A)((?:^(?: {4}.*)?\n)+)", re.MULTILINE)


def name_of(page: Path) -> str:
    """Return how a page is called in a test's id."""
    return str(page.relative_to(CHECKOUT))


@cache
def text_of(page: Path) -> str:
    """Return a page's text."""
    return page.read_text(encoding="utf-8")


@cache
def prose_of(page: Path) -> str:
    """Return a page without its fenced code."""
    return _FENCE.sub("", text_of(page))


def fenced(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the language line and the text of each fenced block."""
    for found in _FENCE.finditer(text_of(page)):
        yield found[1], found[2]


def indented(page: Path) -> Iterator[str]:
    """Yield each indented block."""
    for found in _INDENTED.finditer(prose_of(page)):
        if found[1].strip():
            yield re.sub(r"^ {4}", "", found[1], flags=re.MULTILINE).strip("\n")


def inline(page: Path) -> list[str]:
    """Return what stands between single backquotes."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose_of(page))


def links(page: Path) -> list[str]:
    """Return the targets of all links but those to other hosts."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose_of(page))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as MkDocs makes them."""
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        unique(slugify(plain, "-"), made)
    return frozenset(made)


def commands(page: Path) -> list[str]:
    """Return each line of code, or inline code, that calls `topicserve`, continued lines joined.

    What stands behind four spaces or more, or a number sign, is a remark.
    """
    blocks = [*indented(page), *(text for kind, text in fenced(page) if "python" not in kind)]
    lines = [
        re.split(r" {4,}| +# ", line.strip())[0]
        for block in blocks
        for line in re.sub(r"\\\n\s*", "", block).splitlines()
    ]
    return [line for line in [*lines, *inline(page)] if re.match(r"topicserve [a-z]", line)]
