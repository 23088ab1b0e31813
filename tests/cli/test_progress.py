import io
import threading
from concurrent.futures import Future
from contextlib import suppress

from tests.support.stages.records import ManualClock
from topicserve.cli.progress import PLAIN_INTERVAL_SECONDS, CountProgress


class Terminal(io.StringIO):
    """Something that a person looks at."""

    def isatty(self) -> bool:
        return True


def test_a_log_is_told_now_and_then_and_at_the_end() -> None:
    """Lines do not grow with the records, only with time."""
    stream, clock = io.StringIO(), ManualClock()

    with CountProgress("published", stream, clock) as progress:
        for _ in range(1000):
            progress.advance()
        clock.advance(PLAIN_INTERVAL_SECONDS)
        progress.advance()
        clock.advance(PLAIN_INTERVAL_SECONDS)

    assert stream.getvalue().splitlines() == [
        "published 1,001 records in 5.0 s (200/s)",
        "published 1,001 records in 10.0 s (100/s)",
    ]


def test_a_terminal_keeps_only_the_last_line() -> None:
    """The moving line goes; what stays says how many there were."""
    stream = Terminal()

    with CountProgress("read", stream, ManualClock()) as progress:
        progress.advance()

    assert stream.getvalue().endswith("read 1 record in 0.0 s (0/s)\n")


def test_only_what_came_out_well_is_counted() -> None:
    """A record that failed was not published."""
    progress = CountProgress("published", io.StringIO(), ManualClock())
    done, failed = Future[None](), Future[None]()
    done.set_result(None)
    failed.set_exception(ValueError())

    progress.count_future(done)
    progress.count_future(failed)

    assert progress.count == 1


def test_nothing_done_before_an_error_is_not_told() -> None:
    """The error says all there is to say; after some were done, how many is news."""
    idle, busy = io.StringIO(), io.StringIO()

    with suppress(ValueError), CountProgress("published", idle, ManualClock()):
        raise ValueError
    with suppress(ValueError), CountProgress("published", busy, ManualClock()) as progress:
        progress.advance()
        raise ValueError

    assert idle.getvalue() == ""
    assert busy.getvalue() == "published 1 record in 0.0 s (0/s)\n"


def test_a_known_total_is_told() -> None:
    """Several records may be counted at once."""
    stream = io.StringIO()

    with CountProgress("replayed", stream, total=1200) as progress:
        progress.advance(1100)

    assert stream.getvalue().startswith("replayed 1,100 of 1,200 records in ")


def test_the_time_that_is_left_is_told() -> None:
    """By the total, or by the part of a file that was read."""
    for bound in ({"total": 1000}, {"fraction": iter([0.0, 0.25]).__next__}):
        stream, clock = io.StringIO(), ManualClock()
        with CountProgress("published", stream, clock, **bound) as progress:
            clock.advance(1200)
            progress.advance(250)
        of = " of 1,000" if "total" in bound else ""
        assert stream.getvalue().splitlines() == [
            f"published 250{of} records in 1200.0 s (0/s, 1:00:00 left)",
            f"published 250{of} records in 1200.0 s (0/s)",
        ]


def test_the_time_that_is_left_does_not_count_what_was_done_before() -> None:
    """A command that goes on in the middle of a file takes as long as the rest of it."""
    stream, clock = io.StringIO(), ManualClock()
    read = 0.0

    with CountProgress("published", stream, clock, fraction=lambda: read) as progress:
        read = 0.5
        progress.advance()
        clock.advance(600)
        read = 0.75
        progress.advance()

    assert stream.getvalue().splitlines()[0].endswith("0:10:00 left)")


def test_a_bar_is_shown_where_the_end_is_known() -> None:
    """On a terminal, with what is done."""
    stream, clock = Terminal(), ManualClock()

    with CountProgress("published", stream, clock, total=4) as progress:
        clock.advance(1)
        progress.advance(2)
        assert progress._line._moving is not None
        assert progress._line._moving.tasks[0].completed == 0.5


def test_what_is_waited_for_is_told_while_nothing_is_counted() -> None:
    """Every five seconds; a log is not silent while a store or a broker is away."""
    stream, clock = io.StringIO(), ManualClock()
    problem = "Redis is not available"
    progress = CountProgress("published", stream, clock, waiting_for=lambda: problem)
    progress.advance(3)
    progress.tick()
    assert stream.getvalue() == ""

    for _ in range(4):
        clock.advance(PLAIN_INTERVAL_SECONDS / 2)
        progress.tick()
    problem = ""
    clock.advance(PLAIN_INTERVAL_SECONDS)
    progress.tick()

    assert stream.getvalue().splitlines() == [
        "published 3 records in 5.0 s (1/s); waiting: Redis is not available",
        "published 3 records in 10.0 s (0/s); waiting: Redis is not available",
    ]


def test_who_counts_is_not_told_that_it_waits() -> None:
    """Something is always in progress then."""
    stream, clock = io.StringIO(), ManualClock()
    progress = CountProgress("published", stream, clock, waiting_for=lambda: "the broker")

    for _ in range(5):
        clock.advance(PLAIN_INTERVAL_SECONDS)
        progress.advance()
        progress.tick()

    assert "waiting" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 5


def test_the_clock_of_a_command_is_asked_by_itself() -> None:
    """The thread that publishes is the one that waits."""
    asked = threading.Event()

    def waiting_for() -> str:
        asked.set()
        return "the broker"

    class Jumping(ManualClock):
        def __call__(self) -> float:
            self.advance(PLAIN_INTERVAL_SECONDS)
            return super().__call__()

    stream = io.StringIO()
    with CountProgress("published", stream, Jumping(), waiting_for=waiting_for):
        assert asked.wait(60)

    assert "; waiting: the broker" in stream.getvalue()
