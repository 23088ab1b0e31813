import argparse
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.references.scripted_store import PREFIX, scripted
from topicserve.backends.references.body_reader import BodyReader
from topicserve.cli.errors import UsageError
from topicserve.cli.replay.compare import StoredResults, check_comparison
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord


class Topics:
    """An admin that knows one topic."""

    def partitions(self, topic: str, timeout_seconds: float) -> int | None:  # noqa: ARG002
        return 1 if topic == "results" else None


def check(compare: Path, config: Path | None = None, *, force: bool = False) -> None:
    """Look at the file of a comparison."""
    arguments = argparse.Namespace(compare=compare, config=config, force=force)
    check_comparison(arguments, "results", Topics())  # type: ignore[arg-type]


def test_a_file_that_exists_is_overwritten_on_demand_alone(tmp_path: Path) -> None:
    """It stays as it is otherwise."""
    file = tmp_path / "differences.jsonl"
    file.write_text("of before")

    with pytest.raises(UsageError, match=r"--compare: .* exists; .* overwrite it with --force"):
        check(file)
    check(file, force=True)

    assert file.read_text() == "of before"


def test_a_replay_that_goes_on_finds_its_own_empty_file(tmp_path: Path) -> None:
    """The first run has made sure that it can be written."""
    check(tmp_path / "differences.jsonl")
    check(tmp_path / "differences.jsonl")


@pytest.mark.parametrize("force", [False, True])
def test_the_configuration_is_never_overwritten(tmp_path: Path, *, force: bool) -> None:
    """Under no name of it."""
    config, link = tmp_path / "worker.toml", tmp_path / "link"
    config.write_text("[kafka]")
    link.symlink_to(config)

    for file in (config, link):
        with pytest.raises(UsageError, match="--compare: is the file of --config"):
            check(file, config, force=force)


def test_standard_output_is_for_the_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file named `-` is what no one means."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match="--compare: standard output is for the account"):
        check(Path("-"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    """With the reason."""
    with pytest.raises(UsageError, match="No such file or directory; name another file"):
        check(tmp_path / "missing" / "differences.jsonl")


def at(url: str) -> KafkaRecord:
    """Return a result that lies at a URL."""
    return KafkaRecord("results", 0, 0, 0, None, b"", [("ce_dataref", url.encode())])


def test_results_that_lie_elsewhere_are_compared_as_they_are(tmp_path: Path) -> None:
    """Read from where the configuration stores them, and from nowhere else."""
    (tmp_path / "large").write_bytes(b"body")
    plain = KafkaRecord("results", 0, 1, 0, None, b"{}", [])
    results = StoredResults([f"file://{tmp_path}"])

    assert results.follow(at(f"file://{tmp_path}/large")).value == b"body"
    assert results.follow(plain) is plain
    with pytest.raises(InvalidRecordError, match=r"name its place in dataref\.results or dataref"):
        results.follow(at("file:///elsewhere/large"))
    with pytest.raises(InvalidRecordError, match=r"allowed: nothing; name its place in dataref"):
        StoredResults([]).follow(at(f"file://{tmp_path}/large"))


def test_a_store_that_is_away_is_not_asked_for_each_result() -> None:
    """Three in a row tell it; a body that can be read begins the count again."""

    def away() -> bytes:
        raise OSError("no route")

    store = scripted({"away": away, "there": b"body"})
    bodies = BodyReader([PREFIX], timeout_seconds=0.01, sleep=lambda _: None)
    results = StoredResults([], bodies)
    names = ["away", "away", "there", *["away"] * 3]

    for name in names:
        with suppress(InvalidRecordError):
            results.follow(at(f"{PREFIX}/{name}"))
    asked = store.asked.total()
    with pytest.raises(InvalidRecordError, match="not read, since 3 results in a row"):
        results.follow(at(f"{PREFIX}/there"))

    assert store.asked["there"] == 1
    assert store.asked.total() == asked
