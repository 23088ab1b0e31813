"""Words that a reader has to think about are not used, in code and pages."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.reference_pages import CHECKOUT

BANNED = re.compile(
    r"\b(anew|whoever|somebody|nobody|under way|in vain|heed(s|ed)?|doom(s|ed)?|mend(s|ed|ing)?"
    r"|lent|hence|thereby|as it comes|whose time has run out)\b",
    re.IGNORECASE,
)
PYTHON = ["topicserve", "tests", "tools", "benchmarks", "examples"]
# A name of a user, and what records may hold, are data.
DATA = {"tests/support/kafka/kafka_properties.py", "tests/support/stages/fuzz.py"}


def pages() -> list[Path]:
    """Return everything that is written for people alone."""
    found = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob(".github/**/*")]
    # What the conformance page quotes of Kafka's log is Kafka's.
    return [path for path in found if path.name != "conformance.md"]


def modules() -> list[Path]:
    """Return all code but what is generated."""
    found = (path for top in PYTHON for path in (CHECKOUT / top).rglob("*.py"))
    return [path for path in found if not path.name.endswith("_pb2.py") and path != Path(__file__)]


def prose_of(path: Path) -> Iterator[str]:
    """Yield a module's docstrings and comments, and, of the program, its texts too.

    Nothing of one that has no such word anywhere, its texts joined: to parse all takes long.
    """
    source = path.read_text()
    if not BANNED.search(re.sub(r"[\s\"']+", " ", source)):
        return
    is_program = path.is_relative_to(CHECKOUT / "topicserve")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_program:
            yield node.value
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


@pytest.mark.parametrize("top", PYTHON)
def test_code_is_explained_in_plain_words(top: str) -> None:
    """Docstrings, comments, errors, events and help texts."""
    found = {
        f"{name}: {match.group()}"
        for path in modules()
        if (name := path.relative_to(CHECKOUT).as_posix()).startswith(top) and name not in DATA
        for text in prose_of(path)
        for match in BANNED.finditer(text)
    }

    assert sorted(found) == []


def test_pages_are_written_in_plain_words() -> None:
    """Also the changelog and the decisions."""
    texts = {path: path.read_text() for path in pages() if path.is_file()}

    assert len(texts) > 30
    assert [(p.name, m.group()) for p, t in texts.items() for m in BANNED.finditer(t)] == []


# What was renamed to the field's own term; docs/glossary.md has the terms.
OLD_NAMES = re.compile(
    r"\b(Patience|Surroundings|WaitingRoutes|MetadataReaper|NotNowError|AbandonedError|Shipment"
    r"|HeldWakeUps|OneWakeUp|begin_anew|put_back|drop_closed|look_around|_heed|_meet"
    r"|_?say_again|mends|shared?_core|(?<!num_)(?:un)?load_threads|start_seconds|stuck_seconds"
    r"|apart_(?:versions|labels)|predict_(?:waits|goes_on)|metadata_(?:waits|back)|publish_waits"
    r"|commit_found|transaction_doomed)\b"
)


def test_old_names_are_gone() -> None:
    """From code, keys, events, metrics, dashboards and pages.

    The changelog says what they were, and a decision that was withdrawn keeps its words.
    """
    texts = {path: path.read_text() for path in modules()}
    texts |= {
        path: path.read_text()
        for path in [*pages(), *(CHECKOUT / "deploy").rglob("*")]
        if path.is_file()
        and path.name not in {"CHANGELOG.md", "0008-python-threads-share-a-core.md"}
    }

    found = [
        (path.relative_to(CHECKOUT).as_posix(), match.group())
        for path, text in texts.items()
        for match in OLD_NAMES.finditer(text)
    ]
    assert found == []
