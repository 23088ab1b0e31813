"""Calls of a remote model that find out what a server cannot answer, and wait while it is away."""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

import numpy as np

from topicserve.backoff import Backoff
from topicserve.servables.core.errors import (
    DeadlineExceededError,
    ServableError,
    UnavailableError,
)
from topicserve.servables.kinds.remote.busy_server import KeptAnswers, RoomPause
from topicserve.servables.kinds.remote.call_errors import CallError, kind_of
from topicserve.servables.kinds.remote.divided_inputs import DividedInputs, Units
from topicserve.servables.kinds.remote.failing_units import FailingUnits
from topicserve.servables.kinds.remote.size_limit import SizeLimit
from topicserve.servables.kinds.servable import Columns, Signature

# How often a server may fail on inputs while it answers others, before these are given up.
MAX_TRIES = 3
# The same where it says that it has no room for them: a busy server says so of any inputs. One that
# refuses a share of all calls at random refuses ten such tries of one row in ten million.
MAX_TRIES_WITHOUT_ROOM = 10
_PAUSES_WITHOUT_ROOM = Backoff(0.1, 10.0)
# After how many calls of single rows in a row, none of which had room, or after how long, no more
# are made for now: the caller comes back. A call that takes too long is taken for one that hangs.
_MAX_IN_A_ROW = 4
_MAX_REFUSED_SECONDS = 20.0
# After how long more rows are tried than what fits. A server that is busy may soon have room.
_SIZE_SECONDS, _ROOM_SECONDS = 300.0, 10.0
# For how long an answer shows that the server is not away.
_PROOF_SECONDS = 10.0
# How long a call waits for another that finds out what the server fails on; the caller comes back.
_MAX_TURN_SECONDS = 1.0
# How long inputs are known that a server failed on: several calls may each take all their time.
_FORGET_SECONDS = 300.0
# Of so many probes all but one are of inputs that were answered before: these may be answered no
# more.
_PROBES = 4

Call: TypeAlias = Callable[[Columns], Columns]


class CarefulCalls:
    """Calls one model's server. Any number of threads may call it at once.

    While the server answers, a call goes as it is. A call with too many rows is halved, and the
    size remembered. After another failure the server is probed with a single row: while that fails
    too, the server is away, and the error is retriable. Once it is answered, what fails directly
    after it is at fault: it is divided, and what fails alone MAX_TRIES times is given up. Single
    rows for which there is no room are asked for again, alone, when the caller comes back.
    """

    def __init__(
        self,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        choose: Callable[[int], int] = random.randrange,
    ) -> None:
        self._turn_seconds = min(timeout_seconds, _MAX_TURN_SECONDS)
        self._clock = clock
        self._choose = choose
        # Guards all below; never held during a call.
        self._lock = threading.Lock()
        self._failing = FailingUnits(clock, max(_FORGET_SECONDS, 4 * timeout_seconds))
        self._is_answering = True
        self._answered_at = -math.inf
        # Whether a record was answered since one was given up. The sample shows less: a server may
        # have its answer in a cache while it can compute none.
        self._has_answered_others = False
        self._size_limit = SizeLimit(clock)
        self._room_pause = RoomPause(clock)
        self._kept = KeptAnswers(clock)
        self._sample: tuple[Signature, Columns] | None = None
        self._probes = 0
        # Held during calls while the server is in doubt: what shares a moment with inputs that end
        # the server would be suspected with them.
        self._turn = threading.Lock()

    def predict(
        self, call: Call, inputs: Columns, signature: Signature, outputs: Hashable = ()
    ) -> Columns:
        """Return what `call` answers to the inputs, in as many calls as needed.

        `outputs` tells what `call` asks for. Raises a retriable error while the server is away or
        has no room, and else the inputs' own.
        """
        is_careful = self._size_limit or self._failing or self._room_pause
        if self._is_answering and not is_careful:
            try:
                columns = call(inputs)
            except ServableError as error:
                parts = DividedInputs(inputs, signature)
                self._note_failure(parts, range(parts.count), error, is_proven=False)
            else:
                self._has_answered_others = True
                if self._sample is None:
                    self._keep_sample(signature, DividedInputs(inputs, signature).row(0))
                return columns
        with self._taking_turns():
            parts = DividedInputs(inputs, signature)
            return self._predict_parts(call, parts, signature, (outputs, signature))

    def _predict_parts(
        self, call: Call, parts: DividedInputs, signature: Signature, asked: Hashable
    ) -> Columns:
        with self._lock:
            self._room_pause.check()
        if self._failing and not self._has_answered_others:
            # Before what was given up divides the batch: a part may have nothing to ask for.
            with suppress(ServableError):
                self._probe(call, parts, signature)
        with self._lock:
            self._failing.check(parts)
            answers = self._kept.take(parts, asked)
            known = {unit for units, _ in answers for unit in units}
            groups = [
                [unit for unit in g if unit not in known] for g in self._failing.divide(parts)
            ]
        try:
            self._ask(call, parts, signature, deque(filter(None, groups)), answers)
        except ServableError as error:
            if error.retriable and answers:
                with self._lock:
                    self._kept.keep(parts, answers, asked)
            raise
        return parts.join(answers)

    def _ask(
        self,
        call: Call,
        parts: DividedInputs,
        signature: Signature,
        todo: deque[Units],
        answers: list[tuple[Units, Columns]],
    ) -> None:
        """Ask for all units and add their answers, or raise where some were not answered.

        Single units for which there was no room are asked for twice, the second time between two
        calls for another one: where only these have room, the unit is at fault.
        """
        refused, waiting = deque[Units](), deque[Units]()
        is_second, in_a_row, has_room = False, 0, False
        error: ServableError | None = None
        until = self._clock() + _MAX_REFUSED_SECONDS
        while todo or refused:
            if not todo or (in_a_row >= _MAX_IN_A_ROW and not is_second):
                waiting += todo
                todo, refused, is_second = refused, deque(), True
            units = self._take(todo)
            if not self._is_answering:
                self._probe(call, parts, signature)
            is_compared = len(units) == 1 and (is_second or self._has_no_room(parts, units[0]))
            is_proven = (
                self._answers_another(call, parts, signature)
                if is_compared
                else self._has_just_answered()
            )
            try:
                columns = call(parts.of(units))
            except ServableError as raised:
                if len(units) > 1 or kind_of(raised) is not CallError.NO_ROOM:
                    self._note_failure(parts, units, raised, is_proven)
                    todo.appendleft(units)
                    continue
                error = raised
                in_a_row += 1
                (waiting if is_compared else refused).append(units)
                if is_compared and is_proven and self._answers_another(call, parts, signature):
                    in_a_row, has_room = 0, True
                    self._fail_without_room(parts.digests[units[0]], error)
                elif is_compared and in_a_row >= _MAX_IN_A_ROW:
                    break
                if self._clock() >= until:
                    break
            else:
                in_a_row, has_room = 0, True
                answers.append((units, columns))
                self._note_answer(parts, units)
                if self._sample is None:
                    self._keep_sample(signature, parts.row(units[0]))
        if error is not None and (todo or refused or waiting):
            with self._lock:
                if not has_room:
                    self._size_limit.drop()  # nothing was learnt about how many rows have room
                    self._room_pause.extend(error)
            raise UnavailableError(str(error)) from error

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        """While the server is in doubt, let one thread call it at a time."""
        with self._lock:
            is_in_doubt = not self._is_answering or self._failing.are_tried
        if not is_in_doubt:
            yield
            return
        if not self._turn.acquire(timeout=self._turn_seconds):
            raise UnavailableError("another call finds out what the server fails on")
        try:
            yield
        finally:
            self._turn.release()

    def _take(self, todo: deque[Units]) -> Units:
        """Take units for one call; what is too much for one stays."""
        units = todo.popleft()
        with self._lock:
            size = self._size_limit.of(len(units))
        if size < len(units):
            todo.appendleft(units[size:])
            return units[:size]
        return units

    def _has_just_answered(self) -> bool:
        """Return whether the last call was answered, and that a moment ago."""
        with self._lock:
            moment = self._clock() - _PROOF_SECONDS
            return self._is_answering and self._answered_at >= moment

    def _has_no_room(self, parts: DividedInputs, unit: int) -> bool:
        with self._lock:
            return bool(self._failing) and self._failing.has_no_room(parts.digests[unit])

    def _answers_another(self, call: Call, parts: DividedInputs, signature: Signature) -> bool:
        try:
            return self._probe(call, parts, signature)
        except ServableError:
            return False

    def _probe(self, call: Call, parts: DividedInputs, signature: Signature) -> bool:
        """Ask for a single row; False where there is none to ask for, raise where that failed."""
        with self._lock:
            self._probes += 1
            others = self._failing.others(parts)
            is_other = self._probes % _PROBES == 0 or (others and not self._has_answered_others)
            sample = None if is_other else self._sample
        is_sample = sample is not None and sample[0] == signature
        if sample is not None and is_sample:
            columns = sample[1]
        elif others:
            columns = parts.of([others[self._choose(len(others))]])
        elif parts.rows > 1:
            columns = parts.row(self._choose(parts.rows))
        else:
            return False
        try:
            call(columns)
        except ServableError as error:
            if kind_of(error) is CallError.NO_ROOM:
                raise UnavailableError(str(error)) from error
            if error.retriable:
                raise
        else:
            if not is_sample:
                self._keep_sample(signature, columns)
        with self._lock:
            self._is_answering, self._answered_at = True, self._clock()
            self._has_answered_others |= not is_sample
            self._room_pause.end()
        return True

    def _note_answer(self, parts: DividedInputs, units: Units) -> None:
        with self._lock:
            self._is_answering, self._answered_at = True, self._clock()
            self._has_answered_others = True
            self._room_pause.end()
            if self._failing:
                self._failing.clear([parts.digests[unit] for unit in units])

    def _note_failure(
        self, parts: DividedInputs, units: Units, error: ServableError, is_proven: bool
    ) -> None:
        """Raise, unless the same units may be answered in smaller calls at once.

        `is_proven` says that the server had answered another call directly before.
        """
        kind = kind_of(error)
        with self._lock:
            if kind is CallError.REFUSED:
                self._is_answering, self._answered_at = True, self._clock()
                self._has_answered_others = True
            elif kind is CallError.FAILED:
                self._is_answering = False
                if is_proven:
                    self._suspect([parts.digests[unit] for unit in units], error)
            elif len(units) > 1:
                seconds = _ROOM_SECONDS if kind is CallError.NO_ROOM else _SIZE_SECONDS
                self._size_limit.halve(len(units), seconds)
                return
            elif kind is CallError.NO_ROOM:
                return  # it is asked for again
        raise error

    def _suspect(self, digests: list[bytes], error: ServableError) -> None:
        is_late = isinstance(error, DeadlineExceededError)
        if len(set(digests)) > 1:
            self._failing.split(digests)
            if is_late:  # or there are too many rows for the time
                self._size_limit.halve(len(digests), _SIZE_SECONDS)
        else:
            if is_late:
                self._size_limit.drop()
            self._fail(digests[0], error, MAX_TRIES)

    def _fail(self, digest: bytes, error: ServableError, max_tries: int) -> None:
        given_up = self._failing.fail(
            digest, error, max_tries, may_give_up=self._has_answered_others
        )
        if given_up is not None:
            self._has_answered_others = False
            raise given_up

    def _fail_without_room(self, digest: bytes, error: ServableError) -> None:
        with self._lock:
            if not self._failing.has_no_room(digest):
                self._failing.split([digest])
                self._size_limit.drop()  # it may be the row that others were too many with
            given_up = self._failing.fail(
                digest,
                error,
                MAX_TRIES_WITHOUT_ROOM,
                _PAUSES_WITHOUT_ROOM,
                may_give_up=self._has_answered_others,
            )
            if given_up is not None:  # the next call with it raises that
                self._has_answered_others = False

    def _keep_sample(self, signature: Signature, row: Columns) -> None:
        copied = {name: np.array(column) for name, column in row.items()}
        with self._lock:
            self._sample = signature, copied
