"""Which configuration keys the tests of behaviour set.

A key counts where one file both sets it and has its table: as keyword arguments of the table's
struct or of a helper that makes it, as nested dicts, as lines of TOML, as `table.key`, or as the
worker's flag. That a file of another purpose has a word like `level` is not enough.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.support.docs.pages import CHECKOUT
from topicserve.worker.config.flags import FLAGS

TESTS = CHECKOUT / "tests"
# They say how keys are read and described, not what they do.
OTHERS = ("docs", "worker/config", "support/docs")
STRUCTS = {
    "ServedConfig": "[servables]",
    "CanaryConfig": "servables.canary",
    "ShadowConfig": "servables.shadow",
    "WorkerConfig": "",
}
FLAG_KEYS = {flag.name: flag.key for flag in FLAGS}


@cache
def configured() -> frozenset[tuple[str, str]]:
    """Return the table and the name of each key that is set."""
    paths = set(TESTS.rglob("*.py"))
    for folder in OTHERS:
        paths -= set((TESTS / folder).rglob("*.py"))
    return frozenset(pair for path in paths for pair in _pairs(ast.parse(path.read_text())))


def _pairs(tree: ast.Module) -> Iterator[tuple[str, str]]:
    tables, keys = {""}, set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) if name.endswith("Config"):
                tables.add(STRUCTS.get(name, name.removesuffix("Config").lower()))
            case ast.keyword(arg=str() as name):
                tables |= {name, f"servables.{name}"}
                keys.add(name)
            case ast.Dict(keys=names):
                found = {str(one.value) for one in names if isinstance(one, ast.Constant)}
                tables |= found | {f"servables.{one}" for one in found}
                keys |= found
            case ast.Constant(value=str() as text):
                tables |= set(re.findall(r"^\s*\[+([a-z.]+)\]+", text, re.M))
                keys |= set(re.findall(r"^\s*([a-z_]+) = ", text, re.M))
                yield from re.findall(r"\b([a-z]+)\.([a-z_]+) ?=", text)
                if text in FLAG_KEYS:
                    table, _, key = FLAG_KEYS[text].rpartition(".")
                    yield table, key
    if "servables" in tables:
        tables.add("[servables]")
    yield from ((table, key) for table in tables for key in keys)
