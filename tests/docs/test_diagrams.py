"""The diagrams of docs/architecture.md are drawn from the code's own states."""

from itertools import pairwise

import pytest

from tools.diagrams import HARNESS, IMAGES, PICTURES, VERSION, Box, Picture, draw
from tools.reference_pages import CHECKOUT
from topicserve.servables.core.managers import loader_harness
from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.servable_state import ManagerState


def test_states_of_a_version_are_the_codes() -> None:
    """All that an event may have, in their order."""
    names = [box.lines[0] for box in VERSION.boxes if box.lines[0].isupper()]

    assert names == [state.name for state in ManagerState]


def test_transitions_of_a_loader_are_the_codes() -> None:
    """Each arrow is one, and each that is allowed has an arrow; errors come from anywhere."""
    allowed = {
        (before.value, after.value)
        for before, states in loader_harness._NEXT.items()
        for after in states
        if after is not HarnessState.ERROR
    }
    drawn = {
        (box_at(HARNESS, *arrow.points[0]), box_at(HARNESS, *arrow.points[-1]))
        for arrow in HARNESS.arrows
        if not arrow.dashed
    }

    assert drawn == allowed
    assert {box.lines[0] for box in HARNESS.boxes} == {state.value for state in HarnessState}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_drawn_is_what_is_described(name: str) -> None:
    """Otherwise: make tables. Arrows run along the axes, so that they can be followed."""
    assert (IMAGES / name).read_text() == draw(PICTURES[name])
    assert f"images/{name})" in (CHECKOUT / "docs/architecture.md").read_text()
    for arrow in PICTURES[name].arrows:
        assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(arrow.points))


def box_at(picture: Picture, x: int, y: int) -> str:
    """Return the name of the box whose edge has this point."""

    def touches(box: Box) -> bool:
        return box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height

    (found,) = filter(touches, picture.boxes)
    return found.lines[0]
