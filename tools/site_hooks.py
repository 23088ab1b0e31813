"""What MkDocs asks while it builds the site: pages from the top folder, and the homes of names."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

CHECKOUT = Path(__file__).parents[1]
# Pages of the site that stand at the top of the checkout, where code hosts look for them.
TOP_PAGES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every decision under its index."""
    pages = sorted(path.name for path in (CHECKOUT / "docs/adr").glob("[0-9]*.md"))
    _replace(config.nav or [], "adr/index.md", ["adr/index.md", *(f"adr/{name}" for name in pages)])
    return config


def _replace(nav: list[Any], wanted: str, pages: list[str]) -> None:
    for entry in nav:
        for title, target in entry.items() if isinstance(entry, dict) else ():
            if target == wanted:
                entry[title] = pages
            elif isinstance(target, list):
                _replace(target, wanted, pages)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand at the top."""
    for name, source in TOP_PAGES.items():
        text = (CHECKOUT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show files of the checkout where a page includes them, and find the homes of API names.

    `::: topicserve.servables.Name` stands for the name wherever its module is at present.
    """
    markdown = re.sub(
        r"^::: (topicserve(?:\.\w+)*)\.(\w+)$",
        lambda found: f"::: {home_of(found[1], found[2])}",
        markdown,
        flags=re.MULTILINE,
    )
    return re.sub(r"^<!-- include (\S+) -->$", _included, markdown, flags=re.MULTILINE)


def _included(found: re.Match[str]) -> str:
    text = (CHECKOUT / found[1]).read_text(encoding="utf-8")
    return f"```{Path(found[1]).suffix[1:].replace('py', 'python')}\n{text}```"


def home_of(package: str, name: str) -> str:
    """Return the module path of a public name: one that the package imports for others."""
    homes = _homes(package)
    if name not in homes:
        raise LookupError(f"{package} has no public name {name}")
    return f"{homes[name]}.{name}"


@cache
def _homes(package: str) -> dict[str, str]:
    """Return the module that each name is imported from, also where that is for type checkers."""
    root = CHECKOUT / package.replace(".", "/")
    source = root / "__init__.py" if root.is_dir() else root.with_suffix(".py")
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.name: str(node.module) for node in imports for name in node.names}
