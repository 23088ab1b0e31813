import io

from rich.console import Console

from tests.support.stages.records import ManualClock
from topicserve.demo.screen import PLAIN_INTERVAL_SECONDS, Screen


def test_steps_say_when_they_happen() -> None:
    """Seconds since the start, then what happens now."""
    out, clock = io.StringIO(), ManualClock()
    screen = Screen(Console(file=out), clock)

    with screen:
        clock.advance(12.34)
        screen.step("kill worker-1")

    assert out.getvalue() == "  12.3 s  kill worker-1\n"


def test_in_a_log_counts_come_now_and_then() -> None:
    """A log grows with time, not with every look."""
    out, clock = io.StringIO(), ManualClock()

    with Screen(Console(file=out), clock) as screen:
        for _ in range(100):
            screen.show("results 7")
        clock.advance(PLAIN_INTERVAL_SECONDS)
        screen.show("results 8")

    assert out.getvalue() == "   5.0 s  results 8\n"


def test_on_a_terminal_counts_move_and_go() -> None:
    """The last counts do not stay behind when the table comes."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)

    with Screen(console, ManualClock()) as screen:
        screen.show("results 7")
        screen.step("read what is left")
    screen.conclude("the end")

    shown = out.getvalue()
    assert "results 7" in shown
    assert "read what is left" in shown
    assert shown.endswith("the end\n")


def test_brackets_are_shown_as_they_are() -> None:
    """A problem with a list in it is no markup."""
    out = io.StringIO()

    Screen(Console(file=out)).complain("predicted [/red] [0.1, 0.9]")

    assert out.getvalue() == "WRONG predicted [/red] [0.1, 0.9]\n"
