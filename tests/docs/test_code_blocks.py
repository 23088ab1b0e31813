"""Code on every page: Python compiles and names what there is, TOML and JSON are taken."""

import ast
import importlib
import json
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.docs import pages
from tests.support.docs.pages import PAGES
from tools.reference_pages import keys
from topicserve.worker.config.loading import load_config

every_page = pytest.mark.parametrize("page", PAGES, ids=pages.name_of)
SHORT_NAMES = {"ts": "topicserve.servables", "tb": "topicserve.bodies"}
TABLES = {key.table for key in keys()} | {"servables"}


def python_of(page: Path) -> list[str]:
    """Return the blocks of Python: marked ones, and indented ones that read like it."""
    marked = [text for kind, text in pages.fenced(page) if kind.startswith("python")]
    return [
        *marked,
        *(text for text in pages.indented(page) if re.match(r"\w+ = (await )?\w+\.", text)),
    ]


def toml_of(page: Path) -> list[str]:
    """Return the blocks of TOML: marked ones, and indented ones that read like it."""
    marked = [text for kind, text in pages.fenced(page) if kind.startswith("toml")]
    looks = re.compile(r'\[+[\w.]+\]+$|\w+ = ["\d{\[]', re.MULTILINE)
    return [*marked, *(text for text in pages.indented(page) if looks.match(text))]


@every_page
def test_python_compiles(page: Path) -> None:
    """With `await` where a page leaves the function around it out."""
    for text in python_of(page):
        compile(text, page.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@every_page
def test_names_of_the_package_exist(page: Path) -> None:
    """What is imported, and what is taken from `ts` and `tb`: servables and bodies on pages."""
    for text in python_of(page):
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.ImportFrom(module=str() as name, names=names) if re.match(
                    r"topicserve\b", name
                ):
                    wanted = [one.name for one in names]
                case ast.Attribute(value=ast.Name(id="ts" | "tb" as short), attr=attribute):
                    name, wanted = SHORT_NAMES[short], [attribute]
                case _:
                    continue
            module = importlib.import_module(name)
            missing = [one for one in wanted if not hasattr(module, one)]
            assert [one for one in missing if find_spec(f"{name}.{one}") is None] == []


@every_page
def test_toml_is_taken(page: Path, tmp_path: Path) -> None:
    """By a worker, with what the page leaves out; a package's own file is parsed alone."""
    for number, text in enumerate(toml_of(page)):
        found = tomllib.loads(text)
        if "project" in found:
            continue
        path = tmp_path / f"{number}.toml"
        if TABLES.isdisjoint(found):  # keys of a servable
            text, found = f"[[servables]]\nname = 'n'\nbase_path = '/n'\n{text}", {"servables": []}
        path.write_text(text)
        flags: dict[str, object] = {"topics.input": ["in"], "topics.output": "out"}
        if "servables" not in found:
            flags["servables"] = ["n=/n"]
        load_config(path, {}, flags)


@every_page
def test_json_parses(page: Path) -> None:
    """Blocks marked as JSON."""
    for kind, text in pages.fenced(page):
        if kind.startswith("json"):
            json.loads(text)
