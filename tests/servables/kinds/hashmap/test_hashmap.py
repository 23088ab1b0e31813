"""Keys are looked up in a table that a file of either format holds."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.servables.kind_context import ServablesInMemory
from topicserve.servables.core.errors import DataLossError, InvalidArgumentError, NotFoundError
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import main_ram
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.hashmap import make_adapter
from topicserve.servables.kinds.hashmap.hashmap import Hashmap, HashmapOptions, load_hashmap
from topicserve.servables.kinds.options import read_options
from topicserve.servables.kinds.servable import Signature, TensorSpec

STRING = TensorSpec(np.dtype(object), ())
INT64 = TensorSpec(np.dtype(np.int64), ())


def load(directory: Path, text: str, **options: Any) -> Hashmap:
    """Write a table where its options look for it, and load it."""
    settings = read_options(HashmapOptions, options, "hashmap")
    suffix = "csv" if settings.format == "csv" else "jsonl"
    (directory / f"hashmap.{suffix}").write_text(text)
    return load_hashmap(str(directory), settings)


def look_up(table: Hashmap, *keys: Any) -> list[Any]:
    """Return the values of the keys."""
    dtype = table.signatures["serving_default"].inputs["key"].dtype
    values: list[Any] = table.predict({"key": np.array(keys, dtype)})["value"].tolist()
    return values


def test_csv_maps_keys_to_values(tmp_path: Path) -> None:
    """TF Serving's format: a key and a value a line, quoted where they must be."""
    table = load(tmp_path, 'a,1\n\n"b,c",é\n')

    assert table.signatures == {"serving_default": Signature({"key": STRING}, {"value": STRING})}
    assert look_up(table, b"b,c", b"a", b"a") == ["é".encode(), b"1", b"1"]


def test_json_lines_map_keys_to_values(tmp_path: Path) -> None:
    """The other format: an object a line."""
    table = load(tmp_path, '{"key": "a", "value": "1"}\n', format="json_lines")

    assert look_up(table, b"a") == [b"1"]


@pytest.mark.parametrize("file_format", ["csv", "json_lines"])
def test_of_lines_with_one_key_the_first_counts(
    tmp_path: Path, file_format: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As TF Serving inserts them; one warning has their number and the first ones."""
    pairs = [
        ("a", "1"),
        ("b", "2"),
        ("a", "3"),
        *((f"k{n}", "x") for n in range(9)),
        ("b" * 99, "4"),
    ]
    pairs += [*((f"k{n}", "y") for n in range(9)), ("b" * 99, "5")]
    csv = "".join(f"{key},{value}\n" for key, value in pairs)
    json_lines = "".join(f'{{"key": "{key}", "value": "{value}"}}\n' for key, value in pairs)

    table = load(tmp_path, csv if file_format == "csv" else json_lines, format=file_format)

    assert look_up(table, b"a", b"b", b"k8", b"b" * 99) == [b"1", b"2", b"x", b"4"]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.endswith(
        ": 11 lines have the key of an earlier line, which counts; the first ones: b'a' (line 3), "
        "b'k0' (line 14), b'k1' (line 15), b'k2' (line 16), b'k3' (line 17)"
    )


def test_a_long_key_is_cut_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key may be as long as the file."""
    load(tmp_path, f"{'b' * 999},1\n{'b' * 999},2\n")

    assert f"the first ones: b'{'b' * 62}... (line 2)" in caplog.text


def test_numbers_are_keys_and_values(tmp_path: Path) -> None:
    """Both sides may be numbers; the signature says so."""
    table = load(tmp_path, "3,0.5\n", keys="int64", values="float32")

    assert table.signatures["serving_default"].inputs == {"key": INT64}
    assert look_up(table, 3) == [0.5]


def test_unknown_key_is_named(tmp_path: Path) -> None:
    """A key that is not there is the record's fault."""
    table = load(tmp_path, "a,1\n")

    with pytest.raises(InvalidArgumentError, match="the table has no key b'z'"):
        look_up(table, b"a", b"z")


def test_default_stands_for_unknown_keys(tmp_path: Path) -> None:
    """With a default there is no unknown key."""
    assert look_up(load(tmp_path, "a,1\n", default="?"), b"z", b"a") == [b"?", b"1"]
    assert look_up(load(tmp_path, "a,1\n", values="int64", default=0), b"z") == [0]


def test_unknown_signature_is_named(tmp_path: Path) -> None:
    """There is one signature."""
    with pytest.raises(InvalidArgumentError, match="no signature 'other'"):
        load(tmp_path, "").predict({"key": np.array([b"a"], object)}, "other")


def test_path_may_be_the_file_itself(tmp_path: Path) -> None:
    """As in TF Serving, where a version is a file."""
    file = tmp_path / "table"
    file.write_text("a,1\n")

    assert look_up(load_hashmap(str(file), HashmapOptions()), b"a") == [b"1"]


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("a,1\nb\n", {}, "hashmap.csv, line 2: must be key,value, found 1 fields"),
        ("a,1,2\n", {}, "line 1: must be key,value, found 3 fields"),
        ("a,x\n", {"values": "int64"}, "line 1: invalid literal"),
        ("a,9223372036854775808\n", {"values": "int64"}, "line 1: .*too large"),
        ("a,x\n", {"values": "float32"}, "line 1: could not convert"),
        ("{}\n", {"format": "json_lines"}, "hashmap.jsonl, line 1: .*`key`"),
        ("\n", {"format": "json_lines"}, "line 1: Input data was truncated"),
    ],
)
def test_bad_line_is_named(
    tmp_path: Path, text: str, options: dict[str, Any], problem: str
) -> None:
    """A table that cannot be read says which file and line."""
    with pytest.raises(InvalidArgumentError, match=problem):
        load(tmp_path, text, **options)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """Each format says which file it looked for."""
    for options, name in (
        (HashmapOptions(), "hashmap.csv"),
        (HashmapOptions(format="json_lines"), "hashmap.jsonl"),
        (HashmapOptions(file="t.csv"), "t.csv"),
    ):
        with pytest.raises(NotFoundError, match=f"{name}: there is no such file"):
            load_hashmap(str(tmp_path), options)


def test_damaged_file_is_named(tmp_path: Path) -> None:
    """What is no text, or no CSV, is damaged."""
    file = tmp_path / "hashmap.csv"
    for content in (b"a,\xff\n", b'a,"b\n'):
        file.write_bytes(content)
        with pytest.raises(DataLossError, match=str(file)):
            load_hashmap(str(tmp_path), HashmapOptions())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"fromat": "csv"}, "'hashmap': there is no `fromat`; known are: file, format, keys"),
        ({"format": "xml"}, "'xml'.*`format`"),
        ({"default": "x", "values": "int64"}, "invalid literal"),
        ({"file": 3}, "`file`"),
    ],
)
def test_bad_option_is_named(options: dict[str, object], problem: str) -> None:
    """An option that is wrong says so before anything is loaded."""
    with pytest.raises(InvalidArgumentError, match=problem):
        make_adapter(options, ServablesInMemory())


def test_adapter_loads_and_estimates(tmp_path: Path) -> None:
    """A loader of the adapter brings the table into memory, and knows before what that takes."""
    (tmp_path / "hashmap.csv").write_text("a,1\n")
    version = ServableData(ServableId("table", 1), StoragePath(str(tmp_path)))
    loader = make_adapter({}, ServablesInMemory()).adapt_one_version(version).payload

    loader.load_with_id(version.id)

    assert loader.estimate_resources() == main_ram(9 * 4)
    assert look_up(loader.servable, b"a") == [b"1"]


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=5),
)
def test_any_table_comes_back(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, str]
) -> None:
    """Whatever JSON can hold is found again under its key."""
    lines = [msgspec.json.encode({"key": key, "value": table[key]}) for key in table]
    directory = tmp_path_factory.mktemp("table")

    loaded = load(directory, b"\n".join(lines).decode(), format="json_lines")

    keys = [key.encode() for key in table]
    assert look_up(loaded, *keys) == [value.encode() for value in table.values()]
