"""What an ONNX file says of shapes, read without the library."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.servables.onnx_files import echoes, save
from topicserve.servables.core.errors import DataLossError
from topicserve.servables.kinds.onnx.declared_shapes import names_with_shape

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@in_one_folder
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.booleans()))
def test_names_are_those_with_a_shape(tmp_path: Path, has_shape: dict[str, bool]) -> None:
    """A scalar's empty shape is one; nothing at all is none."""
    made = echoes(**{name: [] if has else None for name, has in has_shape.items()})

    found = names_with_shape(f"{save(made, tmp_path)}/model.onnx")

    declared = {name for name, has in has_shape.items() if has}
    assert found >= declared | {f"{name}_out" for name in declared}
    assert found <= declared | {f"{name}_out" for name in declared}


@in_one_folder
@given(st.binary())
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    """Nothing else is raised."""
    file = tmp_path / "any.onnx"
    file.write_bytes(content)

    with suppress(DataLossError):
        names_with_shape(str(file))


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    """At whatever byte, unless a whole message ends there."""
    whole = Path(save(echoes(a=[]), tmp_path), "model.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DataLossError, match=r"cut.onnx: is damaged or cut short"):
        names_with_shape(str(cut))
