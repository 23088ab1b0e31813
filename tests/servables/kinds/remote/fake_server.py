"""A server that fails as told, and what calls it as a worker's stages do."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

from tests.support.stages.records import ManualClock
from topicserve.servables.core.errors import (
    DeadlineExceededError,
    ResourceExhaustedError,
    ServableError,
    UnavailableError,
)
from topicserve.servables.kinds.remote.careful_calls import CarefulCalls
from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec

INT64 = np.dtype(np.int64)
ROWS = Signature({"x": TensorSpec(INT64, ())}, {"y": TensorSpec(INT64, ())})
# Rows of a record are one call, whatever it costs.
WHOLE = Signature({"x": TensorSpec(INT64, ())}, {"y": TensorSpec(INT64, None, Scope.BATCH)})
ROUNDS = 2_000

UNAVAILABLE = UnavailableError("server: UNAVAILABLE: as told")
LATE = DeadlineExceededError("server: DEADLINE_EXCEEDED: late")
NO_ROOM = ResourceExhaustedError("server: RESOURCE_EXHAUSTED: no room")
TOO_LARGE = ResourceExhaustedError("server: RESOURCE_EXHAUSTED: message larger than max (9 vs. 4)")
FULL_QUEUE = UnavailableError("server: UNAVAILABLE: [request id: 1] Exceeds maximum queue size")
FULL_TF_QUEUE = UnavailableError(
    "server: UNAVAILABLE: The batch scheduling queue to which this task was submitted is full"
)


class Server:
    """Doubles x. It fails on rows, on too many of them, and while it is away, as told."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.fails_on: dict[int, ServableError] = {}
        self.away: ServableError | None = None
        self.most: tuple[int, ServableError] = (1_000_000, NO_ROOM)
        self.is_busy: Callable[[], bool] = lambda: False
        """Whether it has no room for the next call."""
        self.down_seconds = 0.0
        """For how long it is away after a row that it fails on."""
        self._back_at = 0.0
        self.calls: list[list[int]] = []
        self.answered: list[list[int]] = []
        self.times: list[float] = []

    def __call__(self, columns: Columns) -> Columns:
        rows = columns["x"].tolist()
        self.calls.append(rows)
        self.times.append(self._clock())
        if self.away is not None:
            raise self.away
        if self._clock() < self._back_at:
            raise UnavailableError("server: UNAVAILABLE: connection refused")
        if self.is_busy():
            raise NO_ROOM
        for row in rows:
            if row in self.fails_on:
                self._back_at = self._clock() + self.down_seconds
                raise self.fails_on[row]
        most, error = self.most
        if len(rows) > most:
            raise error
        self.answered.append(rows)
        return {"y": columns["x"] * 2}


class Worker:
    """Calls as the worker's stages do: a batch waits, or is halved between records."""

    def __init__(
        self, signature: Signature = ROWS, choose: Callable[[int], int] | None = None
    ) -> None:
        self.clock = ManualClock()
        self.server = Server(self.clock)
        self.careful = CarefulCalls(10.0, self.clock, choose or Random(0).randrange)
        self._signature = signature

    def predict(self, rows: Sequence[int]) -> Any:
        """Call once."""
        inputs = {"x": np.array(rows)}
        return self.careful.predict(self.server, inputs, self._signature)["y"].tolist()

    def process(self, records: Sequence[Sequence[int]], rounds: int = ROUNDS) -> list[Any]:
        """Return what each record was answered: its rows, or what it was refused for."""
        for _ in range(rounds):
            try:
                return self._halved(records)
            except ServableError:
                self.clock.advance(0.1)
        raise TimeoutError

    def _halved(self, records: Sequence[Sequence[int]]) -> list[Any]:
        try:
            rows = self.predict([row for record in records for row in record])
        except ServableError as error:
            if error.retriable:
                raise
            if len(records) == 1:
                return [str(error)]
            middle = len(records) // 2
            return self._halved(records[:middle]) + self._halved(records[middle:])
        answers = []
        for record in records:
            answers.append(rows[: len(record)])
            rows = rows[len(record) :]
        return answers


def doubled(records: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the right answers."""
    return [[row * 2 for row in record] for record in records]
