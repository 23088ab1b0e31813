"""Rows of features become tf.Examples, from what each row has."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.example_rows import examples_of_columns, examples_of_rows
from topicserve.servables.kinds.servable import FeatureSpec, Signature, TensorSpec

STRING = np.dtype(object)
FEATURES = {
    "age": FeatureSpec(np.dtype(np.float32), ()),
    "ids": FeatureSpec(np.dtype(np.int64), (None,)),
    "must": FeatureSpec(np.dtype(np.float32), (), is_required=True),
    "words": FeatureSpec(STRING, (None,)),
}


def a_signature(features: dict[str, FeatureSpec]) -> Signature:
    """Return a signature of examples named `inputs`."""
    return Signature({"inputs": TensorSpec(STRING, ())}, {}, features=features)


INT64 = f"which is from {-(2**63)} to {2**63 - 1}"
KNOWN, UNSEEN = a_signature(FEATURES), a_signature({})


def read(serialized: bytes) -> dict[str, Any]:
    """Return what TensorFlow reads: (kind, values) by feature."""
    found = {}
    for name, feature in tf.train.Example.FromString(serialized).features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = (kind, list(getattr(feature, kind).value) if kind else [])
    return found


def read_rows(rows: list[Any], signature: Signature = KNOWN) -> list[dict[str, Any]]:
    """Return what TensorFlow reads of each row's example."""
    return [read(one) for one in examples_of_rows(rows, signature)["inputs"]]


def test_each_row_has_what_it_has() -> None:
    """Features left out are not in the example, lists differ, one value is a list of one."""
    assert read_rows(
        [
            {"must": 1, "words": ["a", "b"], "ids": [1, 2, 3]},
            {"must": [2.5], "words": "c", "age": 3},
        ]
    ) == [
        {
            "must": ("float_list", [1.0]),
            "words": ("bytes_list", [b"a", b"b"]),
            "ids": ("int64_list", [1, 2, 3]),
        },
        {
            "must": ("float_list", [2.5]),
            "words": ("bytes_list", [b"c"]),
            "age": ("float_list", [3.0]),
        },
    ]


def test_what_the_graph_does_not_parse_is_ignored() -> None:
    """Whatever it holds, null or an object included."""
    (row,) = read_rows([{"must": 1.0, "note": None, "more": {"a": [1]}}])

    assert row == {"must": ("float_list", [1.0])}


def test_unseen_features_have_the_dtypes_of_their_values() -> None:
    """As in TF Serving; integers among floats are floats, nested lists are flat."""
    (row,) = read_rows(
        [{"i": [1, True], "f": [1, 2.5], "s": ["a", b"\xff"], "n": [[1], [2]], "e": []}], UNSEEN
    )

    assert row == {
        "i": ("int64_list", [1, 1]),
        "f": ("float_list", [1.0, 2.5]),
        "s": ("bytes_list", [b"a", b"\xff"]),
        "n": ("int64_list", [1, 2]),
        "e": (None, []),
    }


def test_serialized_examples_go_through_as_they_are() -> None:
    """As bytes or text, alone or under the input's name, in rows and in columns."""
    rows = [b"\xff1", "2", {"inputs": b"3"}]

    assert examples_of_rows(rows, KNOWN)["inputs"].tolist() == [b"\xff1", b"2", b"3"]
    column = np.array([b"1", b"2"], object)
    assert examples_of_columns({"inputs": column}, KNOWN)["inputs"].tolist() == [b"1", b"2"]


def test_columns_by_feature_are_the_same_rows() -> None:
    """JSON's lists and tensors alike."""
    rows = examples_of_rows([{"must": 1.0, "ids": [1]}, {"must": 2.0, "ids": [2, 3]}], KNOWN)
    lists = {"must": [1.0, 2.0], "ids": [[1], [2, 3]], "other": 7}
    arrays = {"must": np.array([[1], [2]], np.float64), "ids": np.array([[1, 2], [3, 4]])}

    assert read(examples_of_columns(lists, KNOWN)["inputs"][1]) == read(rows["inputs"][1])
    assert read(examples_of_columns(arrays, KNOWN)["inputs"][1]) == {
        "must": ("float_list", [2.0]),
        "ids": ("int64_list", [3, 4]),
    }


def test_a_boolean_is_an_integer_for_a_feature_of_integers() -> None:
    """As TF Serving's classify and regress take it, beside integers."""
    (example,) = examples_of_rows([{"must": 1, "ids": [True, 7, False]}], KNOWN)["inputs"]

    assert read(example)["ids"] == ("int64_list", [1, 7, 0])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"age": 1.0}, "'must' is missing, and the model has no default"),
        ({"must": "1"}, "'must': must be numbers, found a string"),
        ({"must": True}, "'must': must be numbers, found a boolean"),
        ({"must": None}, "'must': must be numbers, found null; leave the feature out instead"),
        ({"must": 10**400}, "'must': a number does not fit float32"),
        ({"must": 1, "ids": [1.5]}, "'ids': must be integers, found a float"),
        ({"must": 1, "ids": [2**63]}, f"'ids': {2**63} is out of range for int64, {INT64}"),
        (
            {"must": 1, "ids": [1, -(2**64)]},
            f"'ids': {-(2**64)} is out of range for int64, {INT64}",
        ),
        ({"must": 1, "ids": [1e20]}, f"'ids': 1e+20 is out of range for int64, {INT64}"),
        ({"must": 1, "words": [True]}, "'words': must be strings, found a boolean"),
        ({"must": 1, "words": [{"a": 1}]}, "'words': must be strings, found an object"),
        ([1, 2], "an object of features, or one serialized tf.Example; found a list"),
        (7, "an object of features, or one serialized tf.Example; found an integer"),
    ],
)
def test_a_row_at_fault_names_its_feature(row: Any, says: str) -> None:
    """And what was expected of it."""
    with pytest.raises(InvalidArgumentError) as caught:
        examples_of_rows([row], KNOWN)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"must": [1.0], "ids": [1, 2]}, "features differ in their number of rows: {'must': 1"),
        ({"other": [1.0]}, "there is none of the features 'age', 'ids', 'must', 'words'"),
        ({"must": 1.0}, "'must': must be a list of rows"),
    ],
)
def test_columns_at_fault_are_refused(columns: dict[str, Any], says: str) -> None:
    """One example needs one item of each feature."""
    with pytest.raises(InvalidArgumentError) as caught:
        examples_of_columns(columns, KNOWN)

    assert says in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)
names = st.sampled_from([*FEATURES, "inputs", "other", "\ud800"])
rows = st.lists(values | st.dictionaries(names, values), max_size=3)


@given(rows=rows, signature=st.sampled_from([KNOWN, UNSEEN]))
def test_any_rows_are_examples_or_are_refused(rows: list[Any], signature: Signature) -> None:
    """Nothing else comes of any JSON, and a row's example is the same beside any others."""
    alone: list[bytes] = []
    try:
        for row in rows:
            alone.extend(examples_of_rows([row], signature)["inputs"])
    except InvalidArgumentError:
        with pytest.raises(InvalidArgumentError):
            examples_of_rows(rows, signature)
        return
    together = examples_of_rows(rows, signature)["inputs"].tolist()
    assert all(isinstance(one, bytes) for one in together)
    assert len(together) == len(rows)
    for row, one, other in zip(rows, alone, together, strict=True):
        if isinstance(row, dict) and not isinstance(row.get("inputs"), str | bytes):
            # NaN is not itself, and a map has no order: compare as text.
            assert repr(sorted(read(one).items())) == repr(sorted(read(other).items()))
        else:
            assert one == other or isinstance(row, dict)
