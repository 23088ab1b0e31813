"""One status page for all replicas of a supervisor."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from topicserve.worker.http.pages import Page, json_page
from topicserve.worker.status.page import status_page

# The state of all is that of the one that needs a look most.
_WORST_FIRST = (
    *("stalled", "not_ready", "held_up", "falling_behind"),
    *("behind", "catching_up", "keeping_up", "idle"),
)


class Answer(Protocol):
    """What a replica answered to GET /status.json; `status` is 0 where it did not."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def body(self) -> bytes:
        """The JSON text."""


@dataclass(frozen=True, slots=True)
class TogetherStatus:
    """The statuses of the replicas, in the order of their slots; None where one gave no answer."""

    replicas: tuple[Mapping[str, Any] | None, ...]
    told: tuple[str, ...] = ()
    """What the supervisor says of each replica that cannot answer: how it ended, for example."""

    @classmethod
    def of(cls, answers: Sequence[Answer], told: Sequence[str] = ()) -> Self:
        """Return what these answers say, and the supervisor of those that are missing."""
        return cls(tuple(_status(answer) for answer in answers), tuple(told))

    def html(self, query: str) -> Page:
        """Return the status page; the query `refresh=off` makes one that stays as it is."""
        named = {
            f"replica {number}: {status['worker']['worker_id']}": status
            for number, status in enumerate(self.replicas)
            if status is not None
        }
        return status_page(self._sentence(), self._word(), named, refreshes=query != "refresh=off")

    def json(self) -> Page:
        """Return the state of all together, and each replica's own status."""
        state = {"word": self._word(), "sentence": self._sentence()}
        absent = [
            {"replica": number, "problem": problem} for number, problem in self._absent().items()
        ]
        replicas = list(self.replicas)
        return json_page(200, {"schema": 1, "state": state, "replicas": replicas, "absent": absent})

    def _absent(self) -> dict[int, str]:
        """Return the replicas that gave no answer, and why."""
        absent = [number for number, one in enumerate(self.replicas) if one is None]
        told = dict(enumerate(self.told))
        return {number: told.get(number) or "no answer" for number in absent}

    def _answered(self) -> list[Mapping[str, Any]]:
        return [status for status in self.replicas if status is not None]

    def _word(self) -> str:
        words = {status["state"]["word"] for status in self._answered()}
        if None in self.replicas:
            words.add("not_ready")
        return next((word for word in _WORST_FIRST if word in words), "not_ready")

    def _sentence(self) -> str:
        found = self._answered()
        rate = sum(
            status["rates"]["results_per_second"] + status["rates"]["dead_letters_per_second"]
            for status in found
        )
        behind = max((status["lag"]["seconds"] for status in found), default=0.0)
        waiting = sum(status["lag"]["records"] for status in found)
        well = sum(status["state"]["word"] in ("keeping_up", "idle") for status in found)
        return (
            f"{well} of {len(self.replicas)} replicas keep up: {rate:,.0f} records/s, "
            f"{waiting:,.0f} records wait, {behind:.1f} s behind.{self._worst()}"
        )

    def _worst(self) -> str:
        """Return what is said of the replica that needs a look most, if any does."""
        if absent := self._absent():
            by_problem: dict[str, list[str]] = {}
            for number, problem in absent.items():
                by_problem.setdefault(problem, []).append(str(number))
            parts = [
                f" {'Replica' if len(numbers) == 1 else 'Replicas'} {', '.join(numbers)}: {problem}"
                for problem, numbers in by_problem.items()
            ]
            return f"{';'.join(parts)}; what they read is not counted here."
        word = self._word()
        if word in ("keeping_up", "idle"):
            return ""
        number, worst = next(
            (number, status)
            for number, status in enumerate(self._answered())
            if status["state"]["word"] == word
        )
        return f" Replica {number}: {worst['state']['sentence']}"


def _status(answer: Answer) -> Mapping[str, Any] | None:
    if answer.status != 200:
        return None
    try:
        found: Mapping[str, Any] = json.loads(answer.body)
    except ValueError:  # cut short: the replica ended while it answered
        return None
    return found if isinstance(found, dict) and "state" in found else None
