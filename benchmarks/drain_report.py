"""The drain's table: for the terminal, and for docs/benchmarks.md."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.competitors import STRONG, Competitor
from benchmarks.docs import replace_section

COLUMNS = (
    "what",
    "client",
    "guarantee",
    "records/s",
    "CPU us/record",
    "CPU x strong loop",
    "CPU x loop on this client",
    "records/s x at least once",
    "peak RSS MiB",
    "results",
)
TABLE_WIDTH = 190


@dataclass(frozen=True)
class Outcome:
    """What one complete and verified drain took."""

    records_per_second: float
    cpu_us_per_record: float
    peak_rss_bytes: int
    duplicates: int

    def __str__(self) -> str:
        return (
            f"{self.records_per_second:,.0f} records/s, {self.cpu_us_per_record:.1f} us CPU each, "
            f"{self.peak_rss_bytes / 2**20:.0f} MiB, {self.duplicates} duplicates"
        )


@dataclass(frozen=True)
class Failure:
    """Why one drain does not count."""

    problem: str

    def __str__(self) -> str:
        return f"FAILED: {self.problem}"


@dataclass
class Row:
    """One competitor's rounds, in order."""

    competitor: Competitor
    outcomes: list[Outcome | Failure] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Tell whether any round failed."""
        return any(isinstance(outcome, Failure) for outcome in self.outcomes)

    def values(self, measure: Callable[[Outcome], float]) -> list[float]:
        """Return one number for each round that succeeded."""
        return [measure(outcome) for outcome in self.outcomes if isinstance(outcome, Outcome)]


def _cpu(outcome: Outcome) -> float:
    return outcome.cpu_us_per_record


def _rate(outcome: Outcome) -> float:
    return outcome.records_per_second


def cells(row: Row, rows: Sequence[Row]) -> list[str]:
    """Return one row of the table: medians, with the range of the rounds in brackets."""
    competitor = row.competitor
    what = [competitor.kind, competitor.client, competitor.guarantee]
    if not row.values(_cpu):
        return [*what, *[""] * 6, "FAILED"]
    return [
        *what,
        _median_and_range(row.values(_rate), ",.0f"),
        _median_and_range(row.values(_cpu), ".1f"),
        _ratio(_cpu, row, _at_least_once(rows, STRONG.kind, STRONG.client)),
        _ratio(_cpu, row, _at_least_once(rows, STRONG.kind, competitor.client)),
        _ratio(_rate, row, _at_least_once(rows, competitor.kind, competitor.client)),
        f"{median(row.values(lambda outcome: outcome.peak_rss_bytes)) / 2**20:.0f}",
        _completeness(row),
    ]


def _at_least_once(rows: Sequence[Row], kind: str, client: str) -> Row | None:
    """Return the row of a kind of program on a client, where it took part."""
    wanted = (kind, client, STRONG.guarantee)
    of_what = {(r.competitor.kind, r.competitor.client, r.competitor.guarantee): r for r in rows}
    return of_what.get(wanted)


def _ratio(measure: Callable[[Outcome], float], row: Row, other: Row | None) -> str:
    """Return the median of the rounds' own ratios: what slows a whole round down cancels out."""
    if other is None:
        return ""
    ratios = [
        measure(mine) / measure(its)
        for mine, its in zip(row.outcomes, other.outcomes, strict=True)
        if isinstance(mine, Outcome) and isinstance(its, Outcome)
    ]
    return f"{median(ratios):.2f}" if ratios else ""


def _completeness(row: Row) -> str:
    if row.failed:
        failures = sum(isinstance(outcome, Failure) for outcome in row.outcomes)
        return f"FAILED {failures} of {len(row.outcomes)}"
    duplicates = max(row.values(lambda outcome: outcome.duplicates))
    return f"complete, {duplicates:.0f} duplicates" if duplicates else "complete"


def _median_and_range(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def show(rows: Sequence[Row], records: int) -> None:
    """Print the table."""
    table = Table(*COLUMNS, title=f"Draining {records:,} records")
    for row in rows:
        table.add_row(*cells(row, rows))
    # Where no one looks at a terminal, a line is as wide as the table.
    Console(width=None if sys.stdout.isatty() else TABLE_WIDTH).print(table)


def write_docs(rows: Sequence[Row], records: int) -> None:
    """Put the table into docs/benchmarks.md, with the command that makes it."""
    lines = [cells(row, rows) for row in rows]
    replace_section(
        "drain",
        f"python -m benchmarks.drain --records {records} --rounds {len(rows[0].outcomes)}",
        COLUMNS,
        lines,
    )
