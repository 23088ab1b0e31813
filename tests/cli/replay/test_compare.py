import argparse
from pathlib import Path

import pytest

from topicserve.cli.errors import UsageError
from topicserve.cli.replay.compare import check_comparison, followed
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


def test_results_that_lie_elsewhere_are_compared_as_they_are(tmp_path: Path) -> None:
    """Read from where the configuration stores them, and from nowhere else."""
    (tmp_path / "large").write_bytes(b"body")
    url = f"file://{tmp_path}/large".encode()
    stored = KafkaRecord("results", 0, 0, 0, None, b"", [("ce_dataref", url)])
    plain = KafkaRecord("results", 0, 1, 0, None, b"{}", [])

    found = list(followed(f"file://{tmp_path}", [stored, plain]))

    assert [record.value for record in found] == [b"body", b"{}"]
    assert list(followed("", [stored])) == [stored]
    with pytest.raises(InvalidRecordError, match="ce_dataref"):
        list(followed(f"file://{tmp_path}/other", [stored]))
