import io
from collections import Counter

import pytest

from tests.support.stages.records import ManualClock
from topicserve.backends.errors import BackendUnavailableError
from topicserve.cli.replay.account import ReplayAccount
from topicserve.cli.replay.command import show_account
from topicserve.cli.replay.comparison import Comparison
from topicserve.cli.replay.progress import ReplayScreen
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.replay.progress import ReplayProgress
from topicserve.worker.replay.progress_note import RESULT, OffsetRange, ProgressNote, Tally

FIRST, SECOND = TopicPartition("in", 0), TopicPartition("in", 1)


def a_progress(offset: int, tally: Tally | None = None) -> ReplayProgress:
    """Return a replay of 1,000 offsets from 100 on, and of 10 that no one has begun."""
    note = ProgressNote("job", OffsetRange(100, 1100), tally or Tally())
    return ReplayProgress({FIRST: note}, {FIRST: offset}, {SECOND: OffsetRange(0, 10)})


def shown(*steps: tuple[float, int]) -> list[str]:
    """Return the lines of a screen that is no terminal."""
    stream, clock = io.StringIO(), ManualClock()
    with ReplayScreen(a_progress(100), stream, clock) as screen:
        for seconds, offset in steps:
            clock.advance(seconds)
            screen.show(a_progress(offset))
    return stream.getvalue().splitlines()


def test_a_line_says_how_far_it_is_how_fast_and_how_long_it_takes() -> None:
    """Every five seconds, where nothing moves on a screen."""
    lines = shown((2, 150), (3, 350), (1, 400))

    assert lines == ["replayed 250 of 1,010 offsets (25%), 50/s, 0:00:15 left"]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """Loading models is no part of it."""
    lines = shown((60, 100), (5, 200), (15, 500))

    assert lines[-1] == "replayed 400 of 1,010 offsets (40%), 20/s, 0:00:30 left"


def test_a_replay_that_does_not_get_on_says_which_partitions_are_behind() -> None:
    """A transaction may be open there, or a broker away."""
    lines = shown((1, 101), (20, 101), (20, 101))

    assert lines[-1].endswith("waiting for 40 s (partitions 0, 1)")


def test_an_account_adds_up() -> None:
    """What was read has an outcome, and what is left of the range is said."""
    tally = Tally(10, Counter(result=6, other_servable=1, timed_out=3))

    account = ReplayAccount(a_progress(110, tally))

    assert account.content() == {
        "complete": False,
        "read": 10,
        "results": 6,
        "dead_letters": 3,
        "dead_letters_by_reason": {"timed_out": 3},
        "other_servable": 1,
        "missing": 0,
        "deleted": 0,
        "offsets": 1010,
        "offsets_left": 1000,
        "ranges": {"0": [100, 1100], "1": [0, 10]},
    }
    assert list(account.lines()) == [
        "10 records read",
        "          6  results",
        "          3  dead letters",
        "              3  timed_out",
        "          1  for other servables, left out",
        "not complete: 1,000 of 1,010 offsets are left",
    ]


@pytest.mark.parametrize(
    ("read", "deleted", "is_good"), [(6, 0, True), (7, 0, False), (6, 1, False)]
)
def test_a_record_without_an_outcome_makes_the_account_bad(
    read: int, deleted: int, is_good: bool
) -> None:
    """So does one that was deleted before it was read. The command ends with 1 then."""
    note = ProgressNote("job", OffsetRange(0, 7), Tally(read, Counter(result=6)))

    account = ReplayAccount(ReplayProgress({FIRST: note}, {FIRST: 7}, {}), deleted)

    assert (account.is_complete, account.is_good) == (True, is_good)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_comparison_that_fails_leaves_the_account(
    as_json: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """The replay is done; only the comparison is to be made again."""
    account = ReplayAccount(a_progress(110, Tally(10, Counter({RESULT: 10}))))

    def compare() -> Comparison:
        raise BackendUnavailableError("no broker answers")

    with pytest.raises(BackendUnavailableError, match="no broker answers"):
        show_account(account, "results", compare, as_json=as_json)

    said = capfd.readouterr()
    assert ('"results":10' if as_json else "10  results") in said.out
    assert "run the same command again with --force" in said.err


def test_a_comparison_is_shown_behind_the_account(capfd: pytest.CaptureFixture[str]) -> None:
    """On standard output, as the account."""
    account = ReplayAccount(a_progress(110, Tally(10, Counter({RESULT: 10}))))

    show_account(account, "results", lambda: Comparison(equal=10), as_json=False)

    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "10 records read"
    assert "10 compared with what was published to results" in lines
