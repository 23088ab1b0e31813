"""A model file that can run code is named, with what to export instead."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.servables.core import Core, a_config, put_version
from tests.support.servables.lifecycle import LIMIT_SECONDS
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.server.refused_formats import REMEDIES

KINDS = [
    *("hashmap", "onnx", "open_inference", "pipeline"),
    *("saved_model", "tf_serving", "transform", "vocabulary"),
]


def load_error(base_path: Path, **options: Any) -> str:
    """Return why version 1 is not served."""
    core = Core([a_config("model", base_path, **options)], max_num_load_retries=0)
    core.start()
    try:
        state = core.wait_for("model", 1, ManagerState.END)
    finally:
        core.close()
    return str(state.error)


@pytest.mark.parametrize("ending", REMEDIES)
def test_every_such_file_has_its_remedy(tmp_path: Path, ending: str) -> None:
    """In one line, which names the file."""
    (tmp_path / "1/data").mkdir(parents=True)
    (tmp_path / f"1/data/MODEL{ending.upper()}").write_bytes(b"")

    error = load_error(tmp_path)

    assert error == (
        f"{tmp_path}/1: data/MODEL{ending.upper()} is not read, since reading it can run code: "
        f"{REMEDIES[ending]}"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_so(tmp_path: Path, kind: str) -> None:
    """Which finds it in place of what it wants."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1/model.pkl").write_bytes(b"")
    options = {"target": "127.0.0.1:1"} if kind in ("open_inference", "tf_serving") else {}

    assert "model.pkl is not read" in load_error(tmp_path, kind=kind, options=options)


def test_also_where_memory_is_counted_before_the_load(tmp_path: Path) -> None:
    """The estimate is what finds the file missing then."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1/model.pkl").write_bytes(b"")
    config = a_config("model", tmp_path)
    core = Core([config], max_num_load_retries=0, total_model_memory_limit_bytes=2**30)
    core.start()

    state = core.wait_for("model", 1, ManagerState.END)
    core.close()

    assert "model.pkl is not read" in str(state.error)


def test_beside_what_the_kind_wants_it_is_no_hindrance(tmp_path: Path) -> None:
    """A version may carry what it was exported from."""
    put_version(tmp_path, 1)
    (tmp_path / "1/model.pkl").write_bytes(b"")
    core = Core([a_config("table", tmp_path)])
    core.start()

    assert core.core.wait_until_available(LIMIT_SECONDS)
    core.close()


def test_another_missing_file_keeps_its_own_error(tmp_path: Path) -> None:
    """A directory without such a file is the kind's to judge."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1/readme.txt").write_text("")

    assert "hashmap.csv: there is no such file" in load_error(tmp_path)
