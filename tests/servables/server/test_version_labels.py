import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.server.version_labels import VersionLabels


class Labelled:
    """Labels, and the versions of "s" that are available."""

    def __init__(self, *available: int, strict: bool = False) -> None:
        self.available = set(available)
        self.labels = VersionLabels(lambda one: one.version in self.available, strict=strict)

    def load(self, version: int) -> bool:
        self.available.add(version)
        return self.labels.became_available(ServableId("s", version))


def test_labels_are_not_known_before_they_are_set() -> None:
    """Try again."""
    with pytest.raises(UnavailableError, match="not known yet"):
        Labelled().labels.resolve("s", "stable")


def test_a_label_stands_for_its_version() -> None:
    """Another label, or the same of another servable, is unknown."""
    labels = Labelled(1).labels
    labels.set({"s": {"stable": 1}, "t": {}})

    assert labels.resolve("s", "stable") == 1
    for name, label in (("s", "canary"), ("t", "stable"), ("u", "stable")):
        with pytest.raises(InvalidArgumentError, match=f"{label}' of {name}"):
            labels.resolve(name, label)


def test_a_label_moves_when_its_new_version_is_available() -> None:
    """Until then it stands for the old one, and both versions are protected."""
    labelled = Labelled(1)
    labelled.labels.set({"s": {"stable": 1}})
    labelled.labels.set({"s": {"stable": 2}})
    before = (labelled.labels.resolve("s", "stable"), set(labelled.labels.protected_versions("s")))

    moved = (labelled.load(3), labelled.load(2), labelled.load(2))

    assert before == (1, {1, 2})
    assert moved == (False, True, False)
    assert labelled.labels.resolve("s", "stable") == 2
    assert set(labelled.labels.protected_versions("s")) == {2}


def test_a_label_that_is_taken_away_is_unknown() -> None:
    """The others stay."""
    labels = Labelled(1, 2).labels
    labels.set({"s": {"stable": 1, "canary": 2}})

    labels.set({"s": {"stable": 1}})

    assert labels.of("s") == {"stable": 1}


def test_strict_labels_are_refused_for_what_is_not_available() -> None:
    """The error names label, version and remedy."""
    strict, lenient = Labelled(1, strict=True), Labelled(1)

    strict.labels.check({"s": {"stable": 1}})
    with pytest.raises(FailedPreconditionError, match=r"label 'stable' to version 2 of s.*load"):
        strict.labels.check({"s": {"stable": 2}})
    lenient.labels.check({"s": {"stable": 2}})


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 4)) | st.integers(1, 4),
        max_size=12,
    )
)
def test_a_label_only_ever_moves_to_what_is_available(steps: list[dict[str, int] | int]) -> None:
    """Whatever is loaded and labelled in whatever order; and in the end it is where it should."""
    labelled, wanted = Labelled(), {}
    for step in steps:
        before = dict(labelled.labels.of("s"))
        if isinstance(step, int):
            labelled.load(step)
        else:
            wanted = step
            labelled.labels.set({"s": wanted})
        for label, version in labelled.labels.of("s").items():
            moved = before.get(label, version) != version
            assert not moved or version in labelled.available

    now = labelled.labels.of("s")
    assert now.keys() == wanted.keys()
    for label, version in wanted.items():
        assert now[label] == version or version not in labelled.available
