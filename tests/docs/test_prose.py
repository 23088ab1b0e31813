"""What users see is on the page that lists it; test_every_page.py has the other way round."""

import re

from tools.reference_pages import CHECKOUT
from topicserve.wire import headers
from topicserve.wire.dead_letter import Reason
from topicserve.worker.config.checks import OWN_SETTINGS


def test_every_header_is_in_the_wire_format() -> None:
    """Anyone who writes a producer of their own has nothing else to go by."""
    text = (CHECKOUT / "docs/wire_format.md").read_text()
    ours = {
        value
        for name, value in vars(headers).items()
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
