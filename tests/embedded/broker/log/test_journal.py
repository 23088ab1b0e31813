import json
from pathlib import Path

import pytest

from topicserve.embedded.broker.log import journal as module
from topicserve.embedded.broker.log.journal import Journal


def test_facts_outlive_the_journal(tmp_path: Path) -> None:
    """What was put last is found again; what was deleted is not."""
    path = tmp_path / "journal"
    first = Journal(path)
    first.put({("topic", "a"): 1, ("topic", "b"): 2})
    first.put({("topic", "a"): 3, ("topic", "b"): None, ("offset", "g", "a", 0): [7, -1, "m"]})

    second = Journal(path)

    assert second.facts("topic") == {("a",): 3}
    assert second.facts("offset") == {("g", "a", 0): [7, -1, "m"]}


def test_what_is_put_together_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """Wherever a kill tears the last line, only what came before it is found."""
    whole = tmp_path / "whole"
    journal = Journal(whole)
    journal.put({("topic", "a"): 1})
    before = len(whole.read_bytes())
    journal.put({("topic", "a"): 2, ("topic", "b"): 2})
    content = whole.read_bytes()

    for length in range(before, len(content)):
        torn = tmp_path / "torn"
        torn.write_bytes(content[:length])
        assert Journal(torn).facts("topic") == {("a",): 1}


def test_a_journal_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    """What is put after a restart is not taken for a part of what was torn."""
    path = tmp_path / "journal"
    Journal(path).put({("topic", "a"): 1})
    path.write_bytes(path.read_bytes() + b'0000 [["top')

    Journal(path).put({("topic", "b"): 2})

    assert Journal(path).facts("topic") == {("a",): 1, ("b",): 2}


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact that changes for ever does not fill the disk."""
    monkeypatch.setattr(module, "_COMPACT_EVERY_LINES", 10)
    path = tmp_path / "journal"
    journal = Journal(path)

    for number in range(1_000):
        journal.put({("offset", "g", "t", 0): number})

    assert len(path.read_bytes().splitlines()) <= 20
    assert Journal(path).facts("offset") == {("g", "t", 0): 999}


def test_without_a_path_nothing_is_kept() -> None:
    """A broker in memory forgets its facts elsewhere than here."""
    journal = Journal(None)

    journal.put({("topic", "a"): 1})

    assert journal.facts("topic") == {}


def test_lines_are_json_for_people(tmp_path: Path) -> None:
    """Anyone who looks into the file can read it."""
    path = tmp_path / "journal"
    Journal(path).put({("topic", "a"): {"partitions": 4}})

    _, _, body = path.read_bytes().partition(b" ")

    assert json.loads(body) == [[["topic", "a"], {"partitions": 4}]]
