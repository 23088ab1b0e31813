"""How busy each stage is, and which of them holds the worker up."""

from collections.abc import Sequence
from dataclasses import dataclass

from topicserve.worker.status.snapshot import Interval

POLLING_THREAD = "MainThread"
BATCH_THREADS = "topicserve-batch-"
PREDICT = "predict"


@dataclass(frozen=True, slots=True)
class StageLoad:
    """One stage in the last minute."""

    name: str
    what: str
    """What is counted as busy."""
    busy_share: float | None
    """Share of the time that it was at work, 0 to 1; None where that is not known."""
    mean_seconds: float | None
    """Mean time of one call; None where there was none, or a call is not timed."""


def stage_loads(since: Interval, predict_threads: int, fetch_threads: int = 0) -> list[StageLoad]:
    """Return the stages in the order in which a record comes to them.

    Without `fetch_threads` no bodies are fetched.
    """
    fetch = StageLoad(
        "fetch bodies",
        "tries to fetch bodies that lie elsewhere, of all fetching threads' time",
        _share(since.busy_share("dataref_fetch_seconds", fetch_threads)) if fetch_threads else None,
        since.mean("dataref_fetch_seconds"),
    )
    return [
        StageLoad(
            "poll and decode",
            "processor time of the polling thread",
            _share(since.cpu_share(POLLING_THREAD)),
            None,
        ),
        *([fetch] if fetch_threads else []),
        StageLoad(
            "batch",
            "records wait until a batch of theirs is taken; nothing is busy",
            None,
            since.mean("batch_wait_seconds"),
        ),
        StageLoad(
            PREDICT,
            "predictions of batches, also those that still run, of all prediction threads' time",
            _share(since.running_share(PREDICT, predict_threads)),
            since.mean("predict_seconds"),
        ),
        StageLoad(
            "join metadata",
            "look-ups in the store, of all batch threads' time",
            _share(since.busy_share("metadata_seconds", predict_threads + 1)),
            since.mean("metadata_seconds"),
        ),
        StageLoad(
            "encode",
            "processor time of the busiest batch thread, what it spends in predict included",
            _share(since.cpu_share(BATCH_THREADS)),
            None,
        ),
        StageLoad(
            "commit",
            "commits of offsets or transactions",
            _share(since.busy_share("commit_seconds")),
            since.mean("commit_seconds"),
        ),
    ]


def limiting_stage(loads: Sequence[StageLoad]) -> StageLoad | None:
    """Return the busiest stage; None where none is busy at all: what is waited for is elsewhere."""
    busy = [load for load in loads if load.busy_share is not None and load.busy_share >= _BUSY]
    return max(busy, key=lambda load: load.busy_share or 0.0, default=None)


# Below this, a stage waits more than it works, and is not what holds the others up.
_BUSY = 0.5


def _share(share: float | None) -> float | None:
    return None if share is None else min(max(share, 0.0), 1.0)
