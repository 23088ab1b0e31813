import re
import tomllib

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


def test_the_extras_and_the_command_exist() -> None:
    """The image runs the program as it is installed."""
    (install,) = (line for line in LINES if "pip install" in line)
    extras = re.search(r"\.\[([a-z,-]+)\]", install)

    assert extras is not None
    assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
    assert 'ENTRYPOINT ["topicserve"]' in LINES
    assert "topicserve" in PROJECT["scripts"]


def test_the_image_has_a_python_that_the_project_supports() -> None:
    """The same in both stages: a virtual environment is tied to it."""
    images = {line.split()[1] for line in LINES if line.startswith("FROM ")}

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
