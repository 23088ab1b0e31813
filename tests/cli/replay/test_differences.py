import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.stages.examples import examples
from topicserve.cli.replay.differences import NOT_NUMBERS, largest_difference

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=examples(30))
@given(TREES)
def test_a_result_is_equal_to_itself(tree: Any) -> None:
    """Whatever a signature answers."""
    assert largest_difference(tree, copy.deepcopy(tree)) == 0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.5, 0.25], [0.5, 0.25000001], 0),
        ([0.5, 0.25], [0.5, 0.75], 0.5),
        ({"a": [1, 2]}, {"a": [1, 5]}, 3),
        ([1.0], [1], 0),
        ("six", "seven", NOT_NUMBERS),
        ([1, 2], [1], NOT_NUMBERS),
        ({"a": 1}, {"b": 1}, NOT_NUMBERS),
        (True, 1, NOT_NUMBERS),
        (None, 0, NOT_NUMBERS),
    ],
)
def test_numbers_differ_by_so_much(first: Any, second: Any, expected: float) -> None:
    """Last digits do not count; texts and shapes differ or they do not."""
    assert largest_difference(first, second) == expected
    assert largest_difference(second, first) == expected


def test_tensors_are_compared_as_numbers() -> None:
    """As protobuf results have them."""
    first = {"scores": np.array([[1.0, 2.0]], np.float32), "label": np.array([b"a"], object)}
    closer = {**first, "scores": np.array([[1.0, 2.5]], np.float32)}

    assert largest_difference(first, first) == 0
    assert largest_difference(first, closer) == 0.5
    assert largest_difference(first, {**first, "label": np.array([b"b"], object)}) == NOT_NUMBERS
    wider = {**first, "scores": np.ones((2, 2), np.float32)}
    assert largest_difference(first, wider) == NOT_NUMBERS
