import os
from pathlib import Path

import msgspec
import pytest

from topicserve.cli.commands import parser_of
from topicserve.cli.errors import UsageError
from topicserve.cli.publish.checkpoint import Checkpoint
from topicserve.cli.publish.sources import record_flags
from topicserve.wire.kafka_record import TopicIdentity

IDENTITY: dict[str, object] = {"file": "/data/rows.csv", "size": 7, "mtime_ns": 1}


def opened(folder: Path, topic: str = "digits", **changes: object) -> Checkpoint:
    """Open the checkpoint of a folder."""
    return Checkpoint(str(folder / "state"), topic, IDENTITY | changes)


def test_a_state_is_found_again(tmp_path: Path) -> None:
    """With the ids that it makes."""
    with opened(tmp_path) as checkpoint:
        assert not checkpoint.is_begun
        checkpoint.save(msgspec.structs.replace(checkpoint.state, position=5, published=4))
        made = checkpoint.record_id(6)

    with opened(tmp_path) as again:
        assert again.is_begun
        assert (again.state.position, again.state.published) == (5, 4)
        assert again.record_id(6) == made != again.record_id(7)


def test_it_is_there_before_anything_is_published(tmp_path: Path) -> None:
    """A command that is killed at once has made ids that the next one makes again."""
    with opened(tmp_path) as checkpoint:
        made = checkpoint.record_id(1)
    with opened(tmp_path) as again:
        assert again.record_id(1) == made


@pytest.mark.parametrize(
    ("topic", "changes", "problem"),
    [
        ("other", {}, "of another topic"),
        ("digits", {"size": 8}, "of another file, or of one that has changed"),
        ("digits", {"file": "/data/other.csv"}, "of another file"),
    ],
)
def test_that_of_something_else_is_refused(
    tmp_path: Path, topic: str, changes: dict[str, object], problem: str
) -> None:
    """Positions mean nothing there."""
    opened(tmp_path).close()

    with pytest.raises(UsageError, match=problem):
        opened(tmp_path, topic, **changes)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--row", "list"], "begun with --row object, and now the command is with --row list"),
        (["--tensors"], "begun without --tensors, and now the command is with --tensors;"),
        (["--input-columns", "a"], "with --input-columns a,b, and now .* --input-columns a;"),
        (["--metadata-columns", "c"], "begun without --metadata-columns"),
        (["--id-column", "a"], "begun without --id-column"),
        (["--key-column", "a"], "begun without --key-column"),
        (["--text-columns", "a"], "begun without --text-columns"),
        (["--column-types", "a=int8"], "begun without --column-types"),
        (["--metadata", "run=8"], "with --metadata run=7, and now .* --metadata run=7 run=8"),
        (["--metadata-elsewhere"], "begun without --metadata-elsewhere"),
        (["--servable", "other"], "begun without --servable"),
        (["--source", "/other"], "with --source /topicserve/publish"),
        (["--key-prefix", "x:"], "with --key-prefix topicserve:metadata:, and now .* x:;"),
        (["--redis-url", "redis://u:secret@h/3"], "and now the command is with .* redis://h/3;"),
        (["--format", "tsv"], "with --format csv, and now the command is with --format tsv"),
    ],
)
def test_flags_that_would_make_other_records_are_refused(
    tmp_path: Path, words: list[str], problem: str
) -> None:
    """Rows behind the position would differ from those before, under ids of the same run."""
    identity = {"file": "rows.csv"}
    begun = flags_of("--input-columns", "a,b", "--metadata", "run=7")
    Checkpoint(str(tmp_path / "state"), "digits", identity, begun).close()
    now = flags_of("--input-columns", "a,b", "--metadata", "run=7", *words)

    with pytest.raises(UsageError, match=problem) as refused:
        Checkpoint(str(tmp_path / "state"), "digits", identity, now)
    assert "secret" not in str(refused.value)
    Checkpoint(str(tmp_path / "state"), "digits", identity, now, force=True).close()
    Checkpoint(str(tmp_path / "state"), "digits", identity, now).close()


def test_flags_that_mean_the_same_go_on(tmp_path: Path) -> None:
    """Spaces, defaults, and how fast and to where; a checkpoint of before kept no flags."""
    path = str(tmp_path / "state")
    first = flags_of("--input-columns", "a,b")
    same = flags_of("--input-columns", "a, b", "--row", "object", "--rate", "5", "--limit", "9")
    with Checkpoint(path, "digits", {"file": "rows.csv"}) as old:
        old.save(msgspec.structs.replace(old.state, position=5, flags=None))
    with Checkpoint(path, "digits", {"file": "rows.csv"}, first) as old:
        fewer = {name: first[name] for name in first if name not in ("--redis-url", "--key-prefix")}
        old.save(msgspec.structs.replace(old.state, flags=fewer))

    Checkpoint(path, "digits", {"file": "rows.csv"}, first).close()
    with Checkpoint(path, "digits", {"file": "rows.csv"}, same) as checkpoint:
        assert checkpoint.state.position == 5


@pytest.mark.parametrize(
    ("then", "now", "problem"),
    [
        (("a", "t1"), ("b", "t2"), "in cluster a, and this is cluster b;"),
        (("a", "t1"), ("a", "t2"), "deleted and created again since"),
        (("", "t1"), ("", "t2"), "deleted and created again since"),
        (("a", "t1"), None, "there is no such topic here now"),
        (("", ""), None, "there is no such topic here now"),
        (("a", "t1"), ("a", "t1"), ""),
        (("a", "t1"), ("a", ""), ""),
        (("", ""), ("a", "t1"), ""),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_rows_before_the_position_are_in_one_topic(
    then: tuple[str, str], now: tuple[str, str] | None, problem: str, complete: bool, tmp_path: Path
) -> None:
    """Where they are not in the topic that is named now, nothing is skipped silently."""
    found = None if now is None else TopicIdentity(*now)
    with opened(tmp_path) as checkpoint:
        checkpoint.need_topic(None)  # it is created next
        checkpoint.need_topic(TopicIdentity(*then))
        begun = msgspec.structs.replace(
            checkpoint.state, position=5, published=5, complete=complete
        )
        checkpoint.save(begun)

    with opened(tmp_path) as again:
        if problem:
            with pytest.raises(UsageError, match=f"5 records of topic 'digits' .*{problem}"):
                again.need_topic(found)
        else:
            again.need_topic(found)
            assert again.state == msgspec.structs.replace(begun, **kept(found))
    with Checkpoint(str(tmp_path / "state"), "digits", IDENTITY, force=True) as forced:
        forced.need_topic(found)
        assert forced.state == msgspec.structs.replace(begun, **kept(found))


def kept(found: TopicIdentity | None) -> dict[str, str]:
    """Return what a checkpoint keeps of the topic that was found."""
    return {} if found is None else found._asdict()


def test_a_checkpoint_that_has_published_nothing_may_go_anywhere(tmp_path: Path) -> None:
    """No row is missing there."""
    with opened(tmp_path) as checkpoint:
        checkpoint.need_topic(TopicIdentity("a", "t1"))
        checkpoint.need_topic(TopicIdentity("b", "t2"))
        assert checkpoint.state.cluster_id == "b"


def flags_of(*words: str) -> dict[str, str]:
    """Return what a checkpoint keeps of a command line."""
    typed = ["publish", "rows.csv", "--topic", "digits", *words]
    return record_flags(parser_of("publish").parse_args(typed))


@pytest.mark.parametrize("content", [b"", b"no json", b"{}", b'{"topic": 7}', b"\xff\x00"])
def test_what_is_no_checkpoint_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    """It may be a file that someone needs."""
    (tmp_path / "state").write_bytes(content)

    with pytest.raises(UsageError, match="is no checkpoint"):
        opened(tmp_path)
    assert (tmp_path / "state").read_bytes() == content


def test_one_command_has_it_at_a_time(tmp_path: Path) -> None:
    """Two would publish the same rows."""
    with opened(tmp_path), pytest.raises(UsageError, match="used by another command"):
        opened(tmp_path)
    opened(tmp_path).close()


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is told, and the next command goes on from the last good state."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as checkpoint:
        checkpoint.save(msgspec.structs.replace(checkpoint.state, position=5))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UsageError, match=r"--checkpoint: .*No space left"):
            checkpoint.save(msgspec.structs.replace(checkpoint.state, position=6))
        monkeypatch.undo()
    with opened(tmp_path) as again:
        assert again.state.position == 5


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before anything is published."""
    with pytest.raises(UsageError, match=r"--checkpoint: .*No such file"):
        opened(tmp_path / "missing")


def test_what_never_ends_is_no_checkpoint(tmp_path: Path) -> None:
    """It is neither read nor waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")

    for name in ("pipe", "zero"):
        with pytest.raises(UsageError, match=r"--checkpoint: .*: is no regular file"):
            Checkpoint(str(tmp_path / name), "digits", IDENTITY)
