"""A version that does not load says why: in one line, with the path and the remedy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from tests.servables.kinds.saved_model import exports
from topicserve.servables.core.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    ServableError,
)
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel


def test_tags_choose_the_graph(directory: Path) -> None:
    """A graph saved for something else is opened where the options name its tags."""
    path = exports.export_tf1(directory / "tagged", exports.half_plus_two, ("serve", "gpu"))

    SavedModel.load(path, SavedModelOptions(tags=("gpu", "serve"))).close()

    with pytest.raises(InvalidArgumentError) as caught:
        SavedModel.load(path, SavedModelOptions())
    assert f"{path}: no graph has the tags ['serve']; saved_model.pb has [{{'" in str(caught.value)
    assert "set the option tags to one of these" in str(caught.value)


def test_soft_placement_runs_elsewhere_what_is_pinned(directory: Path) -> None:
    """To a GPU that is not there; without the option, the error names it."""
    path = exports.export_tf1(directory / "pinned", exports.pinned_to_gpu)

    model = SavedModel.load(path, SavedModelOptions(allow_soft_placement=True))

    assert model.predict({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2, 3]]
    model.close()
    with pytest.raises(InvalidArgumentError, match="option allow_soft_placement = true would") as e:
        SavedModel.load(path, SavedModelOptions())
    assert "/device:GPU:0" in str(e.value)


def test_missing_directory_is_named(tmp_path: Path) -> None:
    """A path that is not there is not found."""
    with pytest.raises(NotFoundError, match="nowhere: there is no such directory"):
        SavedModel.load(str(tmp_path / "nowhere"), SavedModelOptions())


def test_directory_without_saved_model_is_named(tmp_path: Path) -> None:
    """An empty version says which file it lacks."""
    with pytest.raises(NotFoundError, match=f"{tmp_path}: .*saved_model.pb"):
        SavedModel.load(str(tmp_path), SavedModelOptions())


def cut(pattern: str, size: int) -> Callable[[Path], None]:
    """Return what cuts a file to its first bytes."""

    def damage(path: Path) -> None:
        (file,) = path.glob(pattern)
        file.write_bytes(file.read_bytes()[:size])

    return damage


def lose(pattern: str) -> Callable[[Path], None]:
    """Return what removes files."""

    def damage(path: Path) -> None:
        for file in path.glob(pattern):
            file.unlink()

    return damage


def rename_op(path: Path) -> None:
    """Make the graph use an op that nothing has registered."""
    file = path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for node in model.meta_graphs[0].graph_def.node:
        if node.op == "Mul":
            node.op = "RegexSplitWithOffsets"
    file.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "kind", "says"),
    [
        (cut("saved_model.pb", 500), DataLossError, "saved_model.pb .* damaged or cut short"),
        (cut("saved_model.pb", 0), DataLossError, "saved_model.pb holds no graph"),
        (cut("variables/*.data*", 0), DataLossError, "under variables/ .* Read less bytes"),
        (cut("variables/*.index", 40), DataLossError, "under variables/ is damaged or cut short"),
        (lose("variables/*"), NotFoundError, "variables/variables.index is missing"),
        (lose("variables/*.index"), NotFoundError, "variables/variables.index is missing"),
        (lose("variables/*.data*"), NotFoundError, "variables.data-00000-of-00001; No such file"),
        (rename_op, NotFoundError, "'RegexSplitWithOffsets': install .* op_libraries"),
    ],
)
def test_the_cause_is_named(
    tmp_path: Path,
    half_plus_two_path: str,
    damage: Callable[[Path], None],
    kind: type[ServableError],
    says: str,
) -> None:
    """The file or op at fault, not what TensorFlow's saver says around it."""
    path = tmp_path / "damaged"
    shutil.copytree(half_plus_two_path, path)
    damage(path)

    with pytest.raises(kind, match=f"{path}: .*{says}") as caught:
        SavedModel.load(str(path), SavedModelOptions())

    assert "\n" not in str(caught.value)
