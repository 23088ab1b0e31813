"""What the stores of bodies say before a worker starts."""

from pathlib import Path

import fsspec

from tests.support.references.body_server import a_body_server, whole
from tests.support.references.hosted_store import a_hosted_store
from topicserve.cli.check.bodies import check_bodies
from topicserve.cli.check.findings import Finding, Findings, Severity
from topicserve.worker.config.dataref import DatarefConfig


def found(*allow: str, results: str = "") -> dict[str, tuple[Severity, str]]:
    """Return how each prefix is, and what is said of it."""
    findings: list[Finding] = []
    check_bodies(DatarefConfig(allow=allow, results=results), Findings(findings.append))
    return {one.key: (one.severity, one.message) for one in findings}


def test_each_allowed_store_is_asked(tmp_path: Path) -> None:
    """Any answer of a server is one; nothing is asked where nothing is allowed."""
    fsspec.filesystem("memory").pipe_file("/bodies/a", b"")
    with a_body_server() as server:
        server.answers["/bodies"] = whole(b"")
        said = found(
            f"file://{tmp_path}", f"{server.url}/bodies", f"{server.url}/other", "memory://bodies"
        )

    assert found() == {}
    assert {severity for severity, _ in said.values()} == {Severity.OK}
    assert [message.partition(" ")[2] for _, message in said.values()] == [
        *("is a directory", "answers", "answers (404 Not Found)", "is there"),
    ]


def test_a_store_that_cannot_be_asked_is_a_problem(tmp_path: Path) -> None:
    """A directory that is missing, a server that is away, a file system that is not installed."""
    with a_body_server() as server:
        url = server.url

    said = found(f"file://{tmp_path}/missing", url, "nosuch://bodies", results=f"file://{tmp_path}")

    assert said.pop("dataref.results") == (Severity.OK, f"file://{tmp_path} is a directory")
    made = f"file://{tmp_path}/new"
    later = (Severity.OK, f"{made} is made when a result is stored")
    assert found(results=made) == {"dataref.results": later}
    assert {severity for severity, _ in said.values()} == {Severity.PROBLEM}
    assert "no directory" in said["dataref.allow[0]"][1]
    assert "cannot be reached" in said["dataref.allow[1]"][1]
    assert "nosuch" in said["dataref.allow[2]"][1]


def test_a_place_that_no_result_can_be_stored_in_is_a_problem(tmp_path: Path) -> None:
    """A file where the directory is wanted."""
    (tmp_path / "file").write_bytes(b"")

    severity, message = found(results=f"file://{tmp_path}/file/large")["dataref.results"]

    assert severity is Severity.PROBLEM
    assert "is no directory" in message


def test_a_bucket_that_does_not_show_is_a_warning() -> None:
    """It may be missing, or only its objects may be used."""
    files = fsspec.filesystem("memory")
    files.pipe_file("/bodies/a", b"")

    said = found("memory://other/bodies", results="memory://bodies/large")

    assert said["dataref.results"][0] is Severity.OK
    severity, message = said["dataref.allow[0]"]
    assert (severity, message) == (
        Severity.WARNING,
        "memory://other is not there, or may not be seen",
    )


def test_a_server_that_is_away_ends_no_other_check(tmp_path: Path) -> None:
    """Where its file system connects when it is opened."""

    def refuse(_: str) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    a_hosted_store(refuse)

    said = found("hosted://one/a", f"file://{tmp_path}", results="hosted://two/b")

    assert said.pop("dataref.allow[1]") == (Severity.OK, f"file://{tmp_path} is a directory")
    assert {severity for severity, _ in said.values()} == {Severity.PROBLEM}
    assert all("Connection refused" in message for _, message in said.values())
