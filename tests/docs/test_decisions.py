"""docs/adr has one numbered page for each decision, with its status and date."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tools.reference_pages import decisions, head_of_decision


@pytest.mark.parametrize("page", decisions(), ids=lambda path: path.name)
def test_every_decision_has_its_number_status_and_date(page: Path) -> None:
    """Its number is that of its file, and the index shows the status."""
    number, title, status = head_of_decision(page)

    assert page.name.startswith(f"{number}-")
    assert title
    assert re.match(r"(accepted|withdrawn|superseded by \d{4}), \d{4}-\d{2}-\d{2}\b", status)


def test_no_two_decisions_have_one_number() -> None:
    """Pages and commits name a decision by its number alone."""
    numbers = Counter(page.name[:4] for page in decisions())

    assert [number for number, count in numbers.items() if count > 1] == []
