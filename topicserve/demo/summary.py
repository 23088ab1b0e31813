"""What the demo has shown, in numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from topicserve.demo.digits import Digits
from topicserve.demo.ledger import DemoAnswer, DemoLedger


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One version's results, against the labels in the metadata."""

    results: int
    all_rows: float
    held_out_rows: float
    """Over the images that no version was trained on."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that the table says."""

    records: int
    results: int
    lost: int
    duplicates: int
    wrong: int
    dead_letters: int
    by_version: dict[int, Accuracy]
    by_worker: dict[str, int]
    records_per_second: float
    """From the first record's timestamp to the last result."""
    latency_p50_seconds: float
    latency_p99_seconds: float
    latency_before_kill_p99_seconds: float
    longest_silence_seconds: float

    def problems(self) -> list[str]:
        """Return what went wrong; nothing in a demo that shows what it promises."""
        problems = []
        for count, what in (
            (self.lost, "record(s) have no result"),
            (self.wrong, "result(s) are wrong"),
            (self.dead_letters, "record(s) were given up"),
        ):
            if count:
                problems.append(f"{count} {what}")
        problems += self._missing_parts()
        return problems

    def _missing_parts(self) -> list[str]:
        """Return what the story promised and the results do not show."""
        missing = []
        if len(self.by_version) < 2:
            missing.append(f"only version(s) {sorted(self.by_version)} answered; 2 were released")
        if len(self.by_worker) < 2:
            missing.append(f"only {sorted(self.by_worker)} answered; 2 workers were started")
        return missing


def summarize(ledger: DemoLedger, digits: Digits, dead_letters: int, killed_at: float) -> Summary:
    """Return the summary; `killed_at` is when a worker was killed, in seconds since the epoch."""
    answers = sorted(ledger.answers.values(), key=lambda answer: answer.read_at)
    latencies = np.array([answer.latency_seconds for answer in answers] or [0.0])
    before_kill = [a.latency_seconds for a in answers if a.read_at < killed_at]
    versions = sorted({answer.version for answer in answers})
    return Summary(
        records=ledger.published,
        results=len(answers),
        lost=ledger.owed,
        duplicates=ledger.duplicates,
        wrong=ledger.wrong,
        dead_letters=dead_letters,
        by_version={version: _accuracy(answers, version, digits) for version in versions},
        by_worker=dict(sorted(Counter(answer.worker_id for answer in answers).items())),
        records_per_second=_rate(answers),
        latency_p50_seconds=float(np.percentile(latencies, 50)),
        latency_p99_seconds=float(np.percentile(latencies, 99)),
        latency_before_kill_p99_seconds=float(np.percentile(before_kill or [0.0], 99)),
        longest_silence_seconds=_longest_silence(answers),
    )


def _accuracy(answers: Sequence[DemoAnswer], version: int, digits: Digits) -> Accuracy:
    of_version = [answer for answer in answers if answer.version == version]
    right = np.array([answer.digit == answer.metadata["label"] for answer in of_version])
    held_out = digits.held_out[[answer.row for answer in of_version]]
    return Accuracy(
        results=len(of_version),
        all_rows=float(right.mean()),
        # A version that answered no such row says nothing about them.
        held_out_rows=float(right[held_out].mean()) if held_out.any() else float("nan"),
    )


def _rate(answers: Sequence[DemoAnswer]) -> float:
    if len(answers) < 2:
        return 0.0
    first_written = min(answer.read_at - answer.latency_seconds for answer in answers)
    return len(answers) / max(answers[-1].read_at - first_written, 1e-9)


def _longest_silence(answers: Sequence[DemoAnswer]) -> float:
    read_at = np.array([answer.read_at for answer in answers])
    return float(np.diff(read_at).max()) if len(read_at) > 1 else 0.0
