import re
import subprocess
import sys

from tests.support.conformance.conformance_runs import Case, Outcomes, Place, Table
from tests.support.conformance.conformance_table import PAGE, cell, outline, render, with_generated

CHECK_LIMIT_SECONDS = 120


def a_table(outcomes: Outcomes, promise: str = "It holds.") -> Table:
    """Return the table of one case in one place."""
    case = Case("tests/conformance/port/test_things.py", "test_it", promise)
    return {case: {Place("embedded", "confluent"): outcomes}}


def a_page(table: Table) -> str:
    """Return a page whose tables are generated."""
    return with_generated(with_generated("", ""), render(table))


def test_the_page_has_the_cases_of_the_suites() -> None:
    """Otherwise: python -m tests.support.conformance.conformance_table."""
    command = [sys.executable, "-m", "tests.support.conformance.conformance_table", "--check"]

    checked = subprocess.run(
        command,
        cwd=PAGE.parents[1],
        capture_output=True,
        text=True,
        timeout=CHECK_LIMIT_SECONDS,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout[-4000:] + checked.stderr[-4000:]


def test_no_case_of_the_page_has_failed() -> None:
    """What is written down is what a run has shown."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `test_")]

    assert rows
    assert [row for row in rows if re.search(r"\d failed", row) or "passed" not in row] == []


def test_a_cell_says_what_became_of_all_runs() -> None:
    """Several runs are counted, and each that was skipped says why."""
    assert cell(None) == ""
    assert cell(Outcomes(passed=1)) == "passed"
    assert cell(Outcomes(passed=5)) == "5 passed"
    assert cell(Outcomes(passed=3, skipped=["no such assignor"])) == (
        "3 passed; skipped: no such assignor"
    )
    assert cell(Outcomes(passed=1, failed=1)) == "1 failed; 1 passed"


def test_the_outline_leaves_out_only_what_became_of_a_case() -> None:
    """Another promise is another page; another outcome is none."""
    page = a_page(a_table(Outcomes()))

    assert outline(page) == outline(a_page(a_table(Outcomes(passed=7))))
    assert outline(page) != outline(a_page(a_table(Outcomes(), "It holds | always.")))
    assert "| Case | embedded, confluent |" in outline(page)
