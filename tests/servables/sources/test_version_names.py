"""What lies under a base path instead of versions is said in one line, with what a version is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.sources.version_names import (
    almost_versions,
    beside_versions,
    what_was_seen,
)

RULE = "a version is a directory named by a number from 0 to 9223372036854775807, such as"


@pytest.mark.parametrize("name", ["v1", "V2", "0.2", "1-2", "1_0", "99999999999999999999"])
def test_a_name_that_was_meant_as_a_version_is_told(name: str) -> None:
    """With and without versions beside it."""
    says = f"a version is a directory named by a number from 0 to {2**63 - 1}, such as /m/1"

    assert what_was_seen("/m", [name], []) == f"found '{name}'; {says}"
    assert beside_versions("/m/", ["1", name]) == f"'{name}' ignored; {says}"


@pytest.mark.parametrize("name", ["1.making", "tmp", "checkpoints", "v", ".1", "2024-plan"])
def test_other_directories_beside_versions_are_no_mistake(name: str) -> None:
    """Writers keep what they like there."""
    assert beside_versions("/m", ["1", "007", name]) == ""


@pytest.mark.parametrize(
    ("base_path", "remedy"),
    [
        ("/models/digits/3", "set base_path to /models/digits"),
        ("/models/digits", "move it to /models/digits/1"),
        ("s3://bucket/digits/", "move it to s3://bucket/digits/1"),
    ],
)
def test_a_base_path_that_is_a_version_itself_says_what_to_do(base_path: str, remedy: str) -> None:
    """By its own name."""
    says = what_was_seen(base_path, ["variables"], ["fingerprint.pb", "saved_model.pb"])

    assert says.startswith(
        f"it holds 'saved_model.pb', so it is a version itself: {remedy}; {RULE}"
    )


def test_few_names_are_told_and_those_meant_as_versions_first() -> None:
    """A directory may hold thousands of others."""
    says = what_was_seen("/m", ["a", "b", "c", "v7"], ["z"])

    assert says.startswith("found 'v7', 'a', 'b' and 2 more; a version is")
    assert what_was_seen("/m", [], []) == ""


@given(st.lists(st.text(max_size=5)))
def test_no_version_is_ever_told_as_almost_one(names: list[str]) -> None:
    """Whatever there is."""
    assert not [name for name in almost_versions([*names, "1", "0007"]) if name in ("1", "0007")]
