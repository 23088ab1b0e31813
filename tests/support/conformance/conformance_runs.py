"""Collects and runs the conformance suites, and notes what became of each case where."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

SUITES = ("tests/conformance/port", "tests/conformance/protocol")
APACHE, NO_BROKER, FRAMES = "apache", "", ""


class Case(NamedTuple):
    """A test function: what it promises of every broker and client."""

    path: str
    name: str
    promise: str


class Place(NamedTuple):
    """Where a case is run; "" for no broker, and for no client library between."""

    broker: str
    client: str


@dataclass
class Outcomes:
    """What became of the runs of one case in one place, which differ in their parameters."""

    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)


Table = dict[Case, dict[Place, Outcomes]]


class Notes:
    """A plugin of pytest that fills a table, in the order of the files."""

    def __init__(self) -> None:
        self.table: Table = {}
        self._outcomes: dict[str, Outcomes] = {}

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        assert isinstance(item, pytest.Function)
        promise = " ".join((item.function.__doc__ or "").split())
        case = Case(item.nodeid.partition("::")[0], item.originalname, promise)
        outcomes = self.table.setdefault(case, {}).setdefault(_place(item), Outcomes())
        self._outcomes[item.nodeid] = outcomes

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # pytest-xdist names the group that a case belongs to behind its id.
        outcomes = self._outcomes[report.nodeid.partition("@")[0]]
        if report.failed:
            outcomes.failed += 1
        elif report.skipped:
            assert isinstance(report.longrepr, tuple)
            outcomes.skipped.append(report.longrepr[2].removeprefix("Skipped: "))
        elif report.when == "call":
            outcomes.passed += 1


def _place(item: pytest.Function) -> Place:
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    # Tests that start an Apache Kafka of their own are marked as needing it.
    others = APACHE if item.get_closest_marker("kafka") else NO_BROKER
    return Place(parameters.get("broker_name", others), parameters.get("client", FRAMES))


def collect() -> Table:
    """Return the table of all cases, without outcomes."""
    notes = Notes()
    _pytest(notes, "--collect-only")
    return notes.table


def run() -> Table:
    """Run all cases, two side by side, for minutes, and return what became of them."""
    notes = Notes()
    _pytest(notes, "--collect-only")  # here; the processes that run them tell only their ids
    _pytest(notes, "-n", "2", "--dist", "loadgroup")
    return notes.table


def failures(table: Table) -> Iterable[Case]:
    """Return the cases that failed anywhere."""
    return [case for case, places in table.items() if any(each.failed for each in places.values())]


def _pytest(notes: Notes, *options: str) -> None:
    code = pytest.main(["-q", "--strict-markers", *options, *SUITES], plugins=[notes])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {code!r}: see above")
