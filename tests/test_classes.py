"""What holds for the classes of the whole package; read from the source, so that nothing loads."""

import ast
import builtins
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import topicserve
from topicserve import servables
from topicserve.errors import TopicserveError

PACKAGE = Path(topicserve.__file__).parent
# It must be one of kafka-python's own, which its client passes on.
OF_A_LIBRARY = {"GivenUpError"}


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    """Yield every class that stands at the top of a module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                yield path.relative_to(PACKAGE), node


def bases(node: ast.ClassDef) -> list[str]:
    """Return the names of a class's bases, without modules and a library's class of its name."""
    names = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
    return [name for name in names if name != node.name]


def is_builtin_error(name: str) -> bool:
    """Return whether a base is one of Python's exceptions."""
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def test_no_two_public_classes_share_a_name() -> None:
    """So that a name in a traceback, a log or a review is one thing."""
    named = Counter(node.name for _, node in classes() if not node.name.startswith("_"))

    shared = {name for name, count in named.items() if count > 1}
    assert {name: [str(p) for p, node in classes() if node.name == name] for name in shared} == {}


def test_every_error_of_ours_has_the_one_base() -> None:
    """A program can catch all that Topicserve raises on purpose, and nothing else."""
    found = {node.name: bases(node) for _, node in classes()}

    def is_ours(name: str) -> bool:
        return name == TopicserveError.__name__ or any(map(is_ours, found.get(name, [])))

    def is_error(name: str) -> bool:
        return is_builtin_error(name) or any(map(is_error, found.get(name, [])))

    strangers = {name for name in found if is_error(name) and not is_ours(name)}
    assert strangers - OF_A_LIBRARY == set()


def test_every_public_error_says_on_its_page_what_to_do() -> None:
    """Of the package itself and of its servables; those that only group others are named there."""
    page = (PACKAGE.parent / "docs/errors.md").read_text()
    public = {*topicserve.__all__, *servables.__all__}

    errors = {name for name in public if name.endswith("Error")}
    assert len(errors) > 20
    assert {name for name in errors if f"{name}`" not in page} == set()
