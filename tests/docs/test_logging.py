import ast
import re
from collections.abc import Iterator

import pytest

from tools.reference_pages import CHECKOUT
from topicserve.servables.server.swap_guard import Verdict
from topicserve.worker.telemetry.label_values import REBALANCE_EVENTS

PAGE = CHECKOUT / "docs/logging.md"
# Events whose names are put together, by how the code spells them.
DERIVED = {
    "f'partitions_{event}'": [f"partitions_{event}" for event in REBALANCE_EVENTS],
    "f'version_probation_{probation.verdict.value}'": [
        f"version_probation_{verdict.value}" for verdict in Verdict
    ],
    "event": ["canary_unavailable", "shadow_unavailable"],
    "f'{self._what}_available'": ["canary_available", "shadow_available"],
    "'left_uncommitted' if is_paused else 'shutdown_timed_out'": [
        "left_uncommitted",
        "shutdown_timed_out",
    ],
}


def logged() -> Iterator[tuple[str, set[str], bool]]:
    """Yield each event of the code with its fields, and whether there may be others."""
    for path in (CHECKOUT / "topicserve").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="log_event"), args=[event, *_], keywords=keywords):
                    names = (
                        [str(event.value)]
                        if isinstance(event, ast.Constant)
                        else DERIVED[ast.unparse(event)]
                    )
                    fields = {one.arg for one in keywords if one.arg is not None}
                    fields = {"traceback" if f == "traceback_of" else f for f in fields}
                    for name in names:
                        yield name, fields, len(fields) < len(keywords)


LOGGED = list(logged())
ROWS = {
    name: set(re.findall(r"\w+", fields))
    for name, fields in re.findall(
        r"^\| `(\w+)` \| \w* \| ([^|]*)\|", PAGE.read_text(), re.MULTILINE
    )
}


def test_the_page_lists_every_event_and_no_other() -> None:
    """Anyone who searches the log for one finds it here."""
    assert ROWS.keys() - {"library_message"} == {name for name, _, _ in LOGGED}


@pytest.mark.parametrize(("event", "fields", "has_more"), LOGGED)
def test_the_page_lists_the_fields(event: str, fields: set[str], has_more: bool) -> None:
    """As the code gives them."""
    assert fields <= ROWS[event]
    if not has_more:
        others = [given for name, given, _ in LOGGED if name == event]
        assert ROWS[event] <= set().union(*others)
