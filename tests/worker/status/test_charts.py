import math

from hypothesis import given
from hypothesis import strategies as st

from topicserve.worker.status.charts import HEIGHT, WIDTH, Line, draw

VALUES = st.lists(st.none() | st.floats(0, 1e15), max_size=30)


@given(VALUES, VALUES)
def test_whatever_the_numbers_lines_stay_inside_the_drawing(
    first: list[float | None], second: list[float | None]
) -> None:
    """Every value is drawn once, and a gap is left where there is none."""
    chart = draw("any", "s", [Line("first", first), Line("second", second)], 30)

    for line, values in zip(chart.lines, (first, second), strict=True):
        places = [place for piece in line.pieces for place in dict.fromkeys(piece.split(" "))]
        assert len(places) == sum(value is not None for value in values)
        for place in places:
            x, y = map(float, place.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    highest = max((value for value in [*first, *second] if value is not None), default=0.0)
    assert highest <= chart.top or math.isclose(highest, chart.top)
    assert chart.top <= 10 * highest or highest < 1e-6


def test_the_newest_value_is_at_the_right_edge_and_the_scale_is_round() -> None:
    """So that two looks at the page can be compared."""
    chart = draw("any", "s", [Line("only", [0.0, 130.0])], 3)

    assert chart.top == 200.0
    (line,) = chart.lines
    assert line.pieces == ("300.0,120.0 600.0,42.0",)
    assert line.areas == ("300.0,120.0 300.0,120.0 600.0,42.0 600.0,120.0",)
    assert line.latest == 130.0
