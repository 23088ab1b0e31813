import re
import tomllib
from itertools import pairwise

import pytest

from tools.reference_pages import CHECKOUT

LINES = (CHECKOUT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


def copied() -> list[str]:
    """Return what is copied from the checkout."""
    words = [line.split()[1:-1] for line in LINES if line.startswith("COPY ")]
    return [word for group in words for word in group if not group[0].startswith("--from")]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    """The ignore file lets through that and nothing else."""
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()

    assert all((CHECKOUT / name).exists() for name in copied())
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied())
    assert "*" in ignored


def extras(stage: str) -> set[str]:
    """Return what a stage installs."""
    (line,) = (
        line
        for start, line in pairwise(LINES)
        if start.startswith("FROM ") and start.endswith(f" AS {stage}") and "pip install" in line
    )
    found = re.search(r"\.\[([a-z,-]+)\]", line)
    assert found is not None
    return set(found[1].split(","))


def packages(names: set[str]) -> set[str]:
    """Return the distributions that extras ask for, those of other extras of ours included."""
    known: dict[str, list[str]] = PROJECT["optional-dependencies"]
    found: set[str] = set()
    for requirement in [one for name in names for one in known[name]]:
        name, _, inner = re.split(r"[>=<;\]]", requirement)[0].partition("[")
        found |= packages(set(inner.split(","))) if name == "topicserve" else {name.strip()}
    return found


@pytest.mark.parametrize("stage", ["install-onnx", "install-worker"])
def test_the_extras_and_the_command_exist(stage: str) -> None:
    """The image runs the program as it is installed."""
    assert extras(stage) <= PROJECT["optional-dependencies"].keys()
    assert 'ENTRYPOINT ["topicserve"]' in LINES
    assert "topicserve" in PROJECT["scripts"]


def test_one_image_has_no_tensorflow() -> None:
    """The other one, which is built by default, has all kinds."""
    lean, full = packages(extras("install-onnx")), packages(extras("install-worker"))

    assert {"onnxruntime", "prometheus-client", "jinja2"} <= lean
    assert [name for name in lean if "tensorflow" in name] == []
    assert full - lean == {"tensorflow-cpu", "tensorflow"}
    assert LINES[-2:] == [
        "FROM base AS worker",
        "COPY --from=install-worker /opt/topicserve /opt/topicserve",
    ]


def test_the_image_has_a_python_that_the_project_supports() -> None:
    """The same in all stages: a virtual environment is tied to it."""
    stages = [line.split() for line in LINES if line.startswith("FROM ")]
    images = {words[1] for words in stages} - {words[3] for words in stages}

    assert images == {"python:3.11-slim"}
    assert PROJECT["requires-python"] == ">=3.11"


def test_the_constraints_are_the_locks_versions_without_hashes() -> None:
    """The edit in the Dockerfile leaves one line a package."""
    (edit,) = re.findall(r"sed -E '([^']*)'", "\n".join(LINES))
    assert edit == r"/^ +--hash/d; s/ *\\$//"
    lock = (CHECKOUT / "requirements.lock").read_text()

    kept = [
        re.sub(r" *\\$", "", line)
        for line in lock.splitlines()
        if not re.match(r" +--hash", line) and line.strip() and not line.startswith("#")
    ]

    assert len(kept) > 50
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+==\S+( ; .+)?", line) for line in kept)


def test_the_process_is_not_root() -> None:
    """Nor does it need to be."""
    assert "USER 10001" in LINES
