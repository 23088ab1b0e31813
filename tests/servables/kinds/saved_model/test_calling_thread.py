"""Short calls stay on the caller's thread, long ones go to the pool."""

import numpy as np
import pytest

from topicserve.servables.kinds.saved_model import calling_thread
from topicserve.servables.kinds.saved_model.calling_thread import (
    LONG_CALLS,
    LONG_SECONDS,
    Array,
    CallingThread,
)
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel

ONE_ROW, MANY_ROWS = np.zeros([1, 4], np.float32), np.zeros([512, 4], np.float32)
SHORT, LONG = LONG_SECONDS / 2, LONG_SECONDS * 2


class Sessions:
    """Calls that take as long as is set, and note where they ran."""

    def __init__(self) -> None:
        self.takes_seconds = SHORT
        self.ran_on: list[str] = []
        self.opened = 0
        self._now = 0.0

    def call(self) -> CallingThread:
        """Return what chooses between the two."""
        return CallingThread(self._run_here, self._open_pool, lambda: self._now)

    def _run_here(self, *feeds: Array) -> list[Array]:
        self._now += self.takes_seconds
        self.ran_on.append("caller")
        return [*feeds]

    def _open_pool(self) -> "Sessions._Pool":
        self.opened += 1
        return Sessions._Pool(self)

    class _Pool:
        def __init__(self, sessions: "Sessions") -> None:
            self._sessions = sessions

        def __call__(self, *feeds: Array) -> list[Array]:
            self._sessions.ran_on.append("pool")
            return [*feeds]


def test_short_calls_stay_on_the_callers_thread() -> None:
    """Whatever they were before: no pool is opened for a small model."""
    sessions = Sessions()
    call = sessions.call()

    for seconds in [LONG, LONG, SHORT] * LONG_CALLS:
        sessions.takes_seconds = seconds
        assert call(ONE_ROW) == [ONE_ROW]

    assert set(sessions.ran_on) == {"caller"}
    assert sessions.opened == 0


def test_calls_that_stay_long_go_to_the_pool() -> None:
    """From the next one on, through one call that is made ready once."""
    sessions = Sessions()
    call = sessions.call()
    sessions.takes_seconds = LONG

    for _ in range(LONG_CALLS + 2):
        call(ONE_ROW)

    assert sessions.ran_on == ["caller"] * LONG_CALLS + ["pool"] * 2
    assert sessions.opened == 1


def test_small_batches_stay_beside_large_ones_that_go() -> None:
    """A backlog does not make single records slower afterwards."""
    sessions = Sessions()
    call = sessions.call()
    sessions.takes_seconds = LONG
    for _ in range(LONG_CALLS + 1):
        call(MANY_ROWS)
    sessions.takes_seconds = SHORT

    call(ONE_ROW)
    call(MANY_ROWS)

    assert sessions.ran_on[LONG_CALLS:] == ["pool", "caller", "pool"]


def test_a_call_without_inputs_is_answered() -> None:
    """A signature may have none."""
    assert Sessions().call()() == []


def test_both_threads_give_the_same_answers(
    half_plus_two_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SavedModel's session is called by either."""
    model = SavedModel.load(half_plus_two_path, SavedModelOptions())
    rows = {"x": np.arange(8, dtype=np.float32).reshape(8, 1)}

    on_callers = model.predict(rows)
    monkeypatch.setattr(calling_thread, "LONG_CALLS", 0)
    on_pools = model.predict(rows)

    assert on_callers["y"].tolist() == on_pools["y"].tolist() == (rows["x"] / 2 + 2).tolist()
    model.close()
