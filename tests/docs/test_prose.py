"""What users see is on the page that lists it; test_every_page.py has the other way round."""

import re

import pytest

from tools.reference_pages import CHECKOUT
from topicserve.backends import kafka_settings
from topicserve.backends.confluent.reading import careful
from topicserve.servables.sources import completeness, regular_files
from topicserve.wire import header_names
from topicserve.wire.dead_letter import Reason
from topicserve.worker.config.checks import OWN_SETTINGS
from topicserve.worker.http import server
from topicserve.worker.http.page_threads import MAX_PAGES
from topicserve.worker.quarantine import careful_partition
from topicserve.worker.stages import shadow
from topicserve.worker.telemetry import logging


def test_every_header_is_in_the_wire_format() -> None:
    """Anyone who writes a producer of their own has nothing else to go by."""
    text = (CHECKOUT / "docs/wire_format.md").read_text()
    ours = {
        value
        for name, value in vars(header_names).items()
        if name.isupper() and isinstance(value, str) and re.match(r"ce_|topicserve-|content", value)
    }

    assert len(ours) > 10
    assert [name for name in ours if f"`{name}`" not in text] == []


def test_every_kafka_setting_of_the_workers_own_is_in_the_configuration() -> None:
    """Anyone who sets one is refused."""
    text = (CHECKOUT / "docs/configuration.md").read_text()

    assert [name for name in OWN_SETTINGS if f"`{name}`" not in text] == []


def test_every_reason_is_in_the_wire_format() -> None:
    """With what to do about it."""
    text = (CHECKOUT / "docs/wire_format.md").read_text()

    assert [reason.value for reason in Reason if f"| `{reason.value}` |" not in text] == []


MIB, KIB = 1024 * 1024, 1024
# A page, and what it says of a constant in the code.
LIMITS = [
    ("docs/quarantine.md", f"the first {careful.FIRST_BYTES // KIB} KiB of each partition"),
    (
        "docs/quarantine.md",
        f"{careful.TOTAL_BYTES // MIB} MiB and {careful._SCREEN_SECONDS:.0f} s in",
    ),
    ("docs/quarantine.md", f"a chunk has {careful_partition.FIRST_CHUNK_RECORDS} records"),
    ("docs/adr/0013-http-server-on-asyncio.md", f"| connections | {server.MAX_CONNECTIONS};"),
    ("docs/adr/0013-http-server-on-asyncio.md", f"| {server.CONNECTION_SECONDS:.0f} s in all |"),
    (
        "docs/adr/0013-http-server-on-asyncio.md",
        f"| {server.MAX_REQUEST_BYTES // KIB} KiB, else 431 |",
    ),
    ("docs/adr/0013-http-server-on-asyncio.md", f"| {MAX_PAGES} for each kind of threads"),
    (
        "SECURITY.md",
        f"{server.MAX_REQUEST_BYTES // KIB} KiB a request, {server.CONNECTION_SECONDS:.0f} seconds "
        f"a connection, {server.MAX_CONNECTIONS} connections",
    ),
    (
        "docs/servables.md",
        f"at most {regular_files.MAX_FILES:,} of them, {regular_files.MAX_DEPTH} directories deep, "
        f"and a `SHA256SUMS` of at most {completeness.MAX_MANIFEST_BYTES // MIB} MiB",
    ),
    (
        "docs/operations.md",
        f"session timeout, {kafka_settings._SESSION_TIMEOUT_MS // 1000} seconds",
    ),
    (
        "docs/logging.md",
        f"at most {logging.BURST} lines are written in {logging.WINDOW_SECONDS:.0f} seconds",
    ),
    (
        "docs/wire_format.md",
        f"a relative tolerance of {shadow.RELATIVE_TOLERANCE:.0e} and an absolute one of "
        f"{shadow.ABSOLUTE_TOLERANCE:.0e}".replace("e-0", "e-"),
    ),
    ("docs/symptoms.md", f"a killed member ({kafka_settings._SESSION_TIMEOUT_MS // 1000} s)"),
]


@pytest.mark.parametrize(("page", "text"), LIMITS)
def test_a_page_says_the_limit_that_the_code_has(page: str, text: str) -> None:
    """A change of one is a change of the other."""
    assert text in " ".join((CHECKOUT / page).read_text().split())
