import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError, ServableError
from topicserve.servables.kinds.hashmap.table_file import read_csv, read_json_lines
from topicserve.servables.kinds.json_file import read_json_file
from topicserve.servables.kinds.saved_model.tf_record import read_tf_records
from topicserve.servables.kinds.vocabulary.vocabulary import VocabularyOptions, load_vocabulary
from topicserve.servables.server.model_config_file import ModelConfigFile
from topicserve.servables.sources import regular_files
from topicserve.servables.sources.directory_size import directory_bytes
from topicserve.servables.sources.regular_files import (
    open_regular_file,
    read_regular_file,
    walk_regular_files,
)

Make = Callable[[Path], object]


def make_socket(path: Path) -> None:
    """Make a socket that lies in the file system."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


STRANGE: dict[str, Make] = {
    "fifo": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "link-to-itself": lambda path: path.symlink_to(path.name),
    "directory": lambda path: path.mkdir(),
}


@pytest.fixture(params=list(STRANGE.values()), ids=list(STRANGE))
def strange(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Make each thing that is no regular file, named as a file that a kind reads."""
    path = tmp_path / "file"
    request.param(path)
    return path


READERS: dict[str, Callable[[Path], object]] = {
    "open": open_regular_file,
    "csv": lambda path: list(read_csv(str(path))),
    "json_lines": lambda path: list(read_json_lines(str(path))),
    "json": lambda path: read_json_file(str(path.parent), path.name, dict[str, int]),
    "vocabulary": lambda path: load_vocabulary(str(path.parent), VocabularyOptions(file=path.name)),
    "warm_up": lambda path: list(read_tf_records(path)),
    "model_config": lambda path: ModelConfigFile(str(path), list, lambda _: None).read(),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_nothing_else_than_a_file_is_read(strange: Path, read: Callable[[Path], object]) -> None:
    """No reader waits for a writer, or for an end that never comes; the error names the path."""
    with pytest.raises(ServableError, match=str(strange)):
        read(strange)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """One that grows without end is not read to it."""
    path = tmp_path / "file"
    path.write_bytes(b"1234")

    assert read_regular_file(path, 4) == b"1234"
    with pytest.raises(InvalidArgumentError, match="at most 3 bytes"):
        read_regular_file(path, 3)
    with pytest.raises(NotFoundError, match="no such file"):
        read_regular_file(tmp_path / "missing", 3)


def test_files_are_found_through_links(tmp_path: Path) -> None:
    """To files and to directories; a link to what is gone counts as gone."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").write_text("12345")
    version = tmp_path / "1"
    version.mkdir()
    (version / "variables").symlink_to(tmp_path / "elsewhere")
    (version / "gone").symlink_to(tmp_path / "nothing")
    (version / "model").symlink_to(tmp_path / "elsewhere" / "data")

    found = {name: stat.st_size for name, stat in walk_regular_files(str(version))}

    assert found == {"variables/data": 5, "model": 5}
    assert directory_bytes(str(version)) == 10


def test_links_that_loop_are_refused(tmp_path: Path) -> None:
    """Also where the loop has two steps."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").symlink_to(tmp_path)

    with pytest.raises(InvalidArgumentError, match="link to a directory that it lies in"):
        list(walk_regular_files(str(tmp_path)))


def test_too_many_and_too_deep_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at a directory ends, whatever is in it."""
    deep, wide, empty = tmp_path / "deep", tmp_path / "wide", tmp_path / "empty"
    (deep / "/".join("d" * regular_files.MAX_DEPTH)).mkdir(parents=True)
    for number in range(4):
        (empty / str(number)).mkdir(parents=True)
        wide.mkdir(exist_ok=True)
        (wide / str(number)).write_text("")

    with monkeypatch.context() as patch:
        patch.setattr(regular_files, "MAX_FILES", 3)
        for path in (wide, empty):
            with pytest.raises(InvalidArgumentError, match="at most 3 files"):
                list(walk_regular_files(str(path)))
    with pytest.raises(InvalidArgumentError, match="deeper than"):
        list(walk_regular_files(str(deep)))
