"""A version's size is that of all its files."""

from pathlib import Path

import pytest

from topicserve.servables.core.errors import NotFoundError
from topicserve.servables.sources.directory_size import directory_bytes


def test_files_at_any_depth_count(tmp_path: Path) -> None:
    """Directories themselves do not."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"x" * 3)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 4)

    assert directory_bytes(str(tmp_path)) == 7
    assert directory_bytes(str(tmp_path / "one")) == 3


def test_missing_path_is_named(tmp_path: Path) -> None:
    """Its size is not nothing."""
    with pytest.raises(NotFoundError, match="nowhere: there is no such file or directory"):
        directory_bytes(str(tmp_path / "nowhere"))
