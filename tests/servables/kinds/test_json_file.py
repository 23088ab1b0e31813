"""The JSON file of a version is read, or refused with its place."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.kinds import json_file
from topicserve.servables.kinds.json_file import TensorSpecJson, read_json_file
from topicserve.servables.kinds.servable import TensorSpec


class Content(msgspec.Struct, forbid_unknown_fields=True):
    """A file of tests."""

    specs: list[TensorSpecJson]


def test_specs_are_read(tmp_path: Path) -> None:
    """Strings are objects, null is an unknown size, no shape is an unknown rank."""
    (tmp_path / "file.json").write_text(
        '{"specs": [{"dtype": "string", "shape": [null, 2]}, {"dtype": "float16"}]}'
    )

    content = read_json_file(str(tmp_path), "file.json", Content)

    assert [spec.read() for spec in content.specs] == [
        TensorSpec(np.dtype(object), (None, 2)),
        TensorSpec(np.dtype(np.float16), None),
    ]


def test_path_may_be_the_file(tmp_path: Path) -> None:
    """As a version may be a file."""
    file = tmp_path / "version"
    file.write_text('{"specs": []}')

    assert read_json_file(str(file), "file.json", Content) == Content([])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "truncated"),
        ("{", "truncated"),
        ("[]", "Expected `object`, got `array`"),
        ('{"specs": [{"dtype": "string", "shape": [-1]}]}', r"`\$\.specs\[0\]\.shape\[0\]`"),
        ('{"specs": [{"dtype": "text"}]}', r"'text' - at `\$\.specs\[0\]\.dtype`"),
        ('{"spec": []}', "`spec`"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    """File, place and problem."""
    (tmp_path / "file.json").write_text(text)

    with pytest.raises(InvalidArgumentError, match=rf"file\.json: .*{problem}"):
        read_json_file(str(tmp_path), "file.json", Content)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """Where it was looked for."""
    with pytest.raises(NotFoundError, match=r"file\.json: there is no such file"):
        read_json_file(str(tmp_path), "file.json", Content)


def test_file_beyond_reason_is_not_read(tmp_path: Path) -> None:
    """A file of the wrong kind may be of any size."""
    with (tmp_path / "file.json").open("wb") as file:
        file.truncate(json_file.MAX_FILE_BYTES + 1)

    with pytest.raises(InvalidArgumentError, match="must have at most"):
        read_json_file(str(tmp_path), "file.json", Content)


@given(content=st.binary(max_size=60) | st.integers(1, 5000).map(lambda depth: b"[" * depth))
def test_no_bytes_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Whatever lies there is read or refused."""
    file = tmp_path_factory.mktemp("json") / "file.json"
    file.write_bytes(content)

    try:
        read_json_file(str(file), "", Content)
    except InvalidArgumentError as error:
        assert str(file) in str(error)  # noqa: PT017 - it may also be read
