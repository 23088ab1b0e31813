"""Variables are restored wherever TensorFlow Serving's own loader opens the model."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from topicserve.servables.core.errors import DataLossError, NotFoundError
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel

TEXTS = tf.TensorSpec([None], tf.string, name="x")


class Tables(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A table made of constants, and on demand one whose content is in the checkpoint."""

    def __init__(self, *, is_mutable: bool = False) -> None:
        super().__init__()
        filled = tf.lookup.KeyValueTensorInitializer(["a"], [1.0])
        self.table = tf.lookup.StaticHashTable(filled, -1.0)
        if is_mutable:
            self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)
            self.table.insert("a", 1.0)

    @tf.function(input_signature=[TEXTS])  # type: ignore[untyped-decorator]
    def look_up(self, x: Any) -> Any:
        return {"y": self.table.lookup(x)}


def save(path: Path, module: Tables) -> Path:
    """Write a TF 2 export."""
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.look_up})
    return path


def predictions(path: Path, inputs: Any) -> Any:
    """Load, predict once and close."""
    model = SavedModel.load(str(path), SavedModelOptions())
    try:
        return model.predict({"x": np.array(inputs)})["y"].tolist()
    finally:
        model.close()


def remove_folder(path: Path) -> None:
    """Remove variables/."""
    shutil.rmtree(path / "variables")


def empty_folder(path: Path) -> None:
    """Remove what is in variables/."""
    for file in (path / "variables").iterdir():
        file.unlink()


@pytest.mark.parametrize("lose", [remove_folder, empty_folder])
def test_a_model_without_variables_needs_no_files_of_them(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    """A table that the graph fills from constants is served."""
    path = save(tmp_path / "1", Tables())
    lose(path)

    assert predictions(path, [b"a", b"b"]) == [1, -1]


def test_a_table_that_is_restored_needs_its_files(tmp_path: Path) -> None:
    """It would be empty without, and answer every key with its default."""
    path = save(tmp_path / "1", Tables(is_mutable=True))
    assert predictions(path, [b"a", b"b"]) == [1, -1]
    remove_folder(path)

    with pytest.raises(NotFoundError, match=r"variables/variables.index is missing"):
        predictions(path, [b"a"])


def test_variables_need_their_files(tmp_path: Path, half_plus_two_path: str) -> None:
    """Whether the folder is empty or is not there."""
    path = tmp_path / "1"
    shutil.copytree(half_plus_two_path, path)
    remove_folder(path)

    with pytest.raises(NotFoundError, match=f"{path}: variables/variables.index is missing"):
        predictions(path, np.array([1], np.float32))


@pytest.mark.parametrize("name", ["a b", "a[b]", "[", "]", "*", "a?", "a\\b", "{a,b}", "a%20ü"])
def test_wildcards_in_a_path_are_plain_characters(
    tmp_path: Path, half_plus_two_path: str, name: str
) -> None:
    """What is under variables/ is found, and what is damaged is named with its own path."""
    path = tmp_path / name / name
    shutil.copytree(half_plus_two_path, path)

    assert predictions(path, np.array([[2]], np.float32)) == [[3]]

    (data,) = (path / "variables").glob("*.data*")
    data.unlink()
    with pytest.raises(NotFoundError) as caught:
        predictions(path, np.array([[2]], np.float32))
    assert f"{path}/variables/{data.name}; No such file" in str(caught.value)


def test_damaged_files_under_wildcards_are_named(tmp_path: Path, half_plus_two_path: str) -> None:
    """As under any other path."""
    path = tmp_path / "a[b]"
    shutil.copytree(half_plus_two_path, path)
    index = path / "variables/variables.index"
    index.write_bytes(index.read_bytes()[:40])

    with pytest.raises(DataLossError) as caught:
        predictions(path, np.array([[2]], np.float32))
    assert f"{path}: a file under variables/ is damaged or cut short" in str(caught.value)
