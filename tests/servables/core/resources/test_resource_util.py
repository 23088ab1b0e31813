from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.core.resources.resource_allocation import Resource, ResourceAllocation
from topicserve.servables.core.resources.resource_util import ResourceUtil

UTIL = ResourceUtil({"main": 1, "gpu": 2})
MAIN, MAIN0 = Resource("main", "ram"), Resource("main", "ram", 0)
GPU, GPU0, GPU1 = (Resource("gpu", "ram", instance) for instance in (None, 0, 1))

ALLOCATIONS = st.dictionaries(st.sampled_from([MAIN, MAIN0, GPU, GPU0, GPU1]), st.integers(0, 20))


def test_normalizing_drops_zeros_and_binds_what_can_be_in_one_place_only() -> None:
    """Amounts that come to the same resource add up."""
    assert UTIL.normalize({MAIN: 1, MAIN0: 2, GPU: 3, GPU0: 0}) == {MAIN0: 3, GPU: 3}


def test_bound_means_that_every_instance_is_known() -> None:
    """Of a single device it is."""
    assert UTIL.is_bound({MAIN: 1, GPU1: 1})
    assert not UTIL.is_bound({GPU: 1})


def test_bound_and_unbound_amounts_are_kept_apart() -> None:
    """Adding does not guess."""
    assert UTIL.add({GPU: 1, GPU0: 1}, {GPU: 2, GPU1: 5}) == {GPU: 3, GPU0: 1, GPU1: 5}


def test_no_less_than_nothing_is_left() -> None:
    """A subtraction that would be negative is none."""
    assert UTIL.subtract({GPU0: 5}, {GPU0: 6}) is None
    assert UTIL.subtract({GPU0: 5}, {GPU: 1}) is None
    assert UTIL.subtract({GPU0: 5, MAIN: 1}, {GPU0: 5}) == {MAIN0: 1}


def test_an_unbound_amount_must_fit_into_one_instance() -> None:
    """Of what the bound amounts leave."""
    right = {GPU0: 5, GPU1: 8}

    assert UTIL.less_than_or_equal({}, right)
    assert UTIL.less_than_or_equal({GPU: 8}, right)
    assert UTIL.less_than_or_equal({GPU0: 5, GPU: 8}, right)
    assert not UTIL.less_than_or_equal({GPU: 9}, right)
    assert not UTIL.less_than_or_equal({GPU1: 1, GPU: 8}, right)
    assert not UTIL.less_than_or_equal({MAIN: 1}, right)
    assert UTIL.less_than_or_equal({GPU: 3}, {GPU: 3})


def test_overbinding_charges_every_instance() -> None:
    """The worst case."""
    assert UTIL.overbind({GPU: 3, GPU0: 1, MAIN: 2}) == {GPU0: 4, GPU1: 3, MAIN0: 2}


@given(ALLOCATIONS, ALLOCATIONS)
def test_subtracting_what_was_added_gives_back_what_there_was(
    left: ResourceAllocation, right: ResourceAllocation
) -> None:
    """Normalized."""
    assert UTIL.subtract(UTIL.add(left, right), right) == UTIL.normalize(left)


@given(ALLOCATIONS, ALLOCATIONS)
def test_more_is_never_less(left: ResourceAllocation, right: ResourceAllocation) -> None:
    """Each part of a bound sum fits into the sum."""
    together = UTIL.overbind(UTIL.add(left, right))

    assert UTIL.less_than_or_equal(UTIL.overbind(left), together)
    assert UTIL.less_than_or_equal(left, {}) is (not UTIL.normalize(left))
