"""What is committed is what protoc makes of the .proto files."""

from pathlib import Path

import pytest

from tests.protos.generate import CHECKOUT, PROTOS, generate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    """Return the text of every file that protoc makes now."""
    into = tmp_path_factory.mktemp("protos")
    return {path: (into / path).read_text() for path in generate(into)}


def test_committed_modules_are_what_protoc_makes(made: dict[Path, str]) -> None:
    """No one edits a generated file, and no one forgets to make it again."""
    committed = {path: (CHECKOUT / path).read_text() for path in made}

    assert committed == made


def test_every_generated_module_has_its_source(made: dict[Path, str]) -> None:
    """A .proto file that goes away takes its module along."""
    committed = {path.relative_to(CHECKOUT) for path in (CHECKOUT / PROTOS).glob("*_pb2.py*")}

    assert committed == set(made)
