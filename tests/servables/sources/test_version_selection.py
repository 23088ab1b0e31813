from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.server.servable_config import VersionPolicy, VersionPolicyKind
from topicserve.servables.sources.version_selection import (
    MAX_VERSION,
    parse_versions,
    select_versions,
)

POLICIES = st.builds(
    VersionPolicy,
    st.sampled_from(VersionPolicyKind),
    st.integers(0, 4),
    st.lists(st.integers(0, 9), max_size=4).map(tuple),
)
SOME = st.sets(st.integers(0, 9))


@given(st.lists(st.text(max_size=4) | st.integers(-5, 2**64).map(str)))
def test_whatever_the_names_versions_are_numbers_once(names: list[str]) -> None:
    """Each is the number of the name that it was read from."""
    versions = parse_versions(names)

    for number, found in versions.items():
        assert found[0] == str(number) or str(number) not in names
        for name in found:
            assert name in names
            assert name.isascii()
            assert name.isdigit()
            assert int(name) == number <= MAX_VERSION


@given(SOME, POLICIES, SOME, SOME, SOME)
def test_what_is_selected_is_there_complete_and_wanted(
    found: set[int],
    policy: VersionPolicy,
    protected: set[int],
    complete: set[int],
    reserved: set[int],
) -> None:
    """And nothing that is all three is left out; what is reserved is not counted as latest."""
    selected = select_versions(found, policy, protected, complete.__contains__, reserved)

    usable = sorted(found & complete)
    wanted = {
        VersionPolicyKind.LATEST: set(
            [v for v in usable if v not in reserved][-max(1, policy.num_versions) :]
        ),
        VersionPolicyKind.ALL: set(usable),
        VersionPolicyKind.SPECIFIC: set(usable) & set(policy.versions),
    }[policy.kind]
    assert len(selected) == len(set(selected))
    assert set(selected) == wanted | (protected & set(usable))


def test_completeness_is_asked_of_no_more_than_it_takes() -> None:
    """Looking at a version's files costs more than listing names."""
    asked: list[int] = []

    def is_complete(version: int) -> bool:
        asked.append(version)
        return version != 9

    assert select_versions(range(10), VersionPolicy(), [3], is_complete) == [8, 3]
    assert asked == [9, 8, 3]
