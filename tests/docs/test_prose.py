import re
from pathlib import Path

import pytest

from tests.support.reference_pages import CHECKOUT, keys, metric_rows
from topicserve.wire import headers
from topicserve.wire.dead_letter import Reason
from topicserve.worker.config_checks import OWN_SETTINGS
from topicserve.worker.config_flags import FLAGS

NAMES = ("operations.md", "wire_format.md", "metrics.md", "quarantine.md")
PAGES = [CHECKOUT / "docs" / name for name in NAMES]
KEYS = {key.dotted for key in keys()}
TABLES = {key.table for key in keys() if key.table}
# Flags that stand for no key, and those of the other commands that the pages use.
OTHER_FLAGS = {"--config", "--set", "--replicas", "--worker-id", "--topic", "--dead-letters"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_metrics_in_the_text_exist(page: Path) -> None:
    """A renamed metric is renamed there too."""
    known = {row.name for row in metric_rows()}
    ends = ("_bucket", "_sum", "_count")

    for name in re.findall(r"\btopicserve_[a-z_]+\b", page.read_text()):
        end = next((end for end in ends if name.endswith(end)), "")
        assert name in known or name.removesuffix(end) in known


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_keys_in_the_text_exist(page: Path) -> None:
    """Whatever is written like a key of a table is one."""
    tables = "|".join(sorted(TABLES))

    for key in re.findall(rf"`((?:{tables})\.[a-z_]+)`", page.read_text()):
        assert key in KEYS


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_flags_in_the_text_exist(page: Path) -> None:
    """Of the worker, or of the commands beside it."""
    known = OTHER_FLAGS | {flag.name for flag in FLAGS}

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text())) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Within this checkout."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists()
    for target in re.findall(r"`(deploy/[^`]+)`", page.read_text()):
        assert (CHECKOUT / target).exists()


def test_every_header_is_in_the_wire_format() -> None:
    """Whoever writes a producer of their own has nothing else to go by."""
    text = (CHECKOUT / "docs/wire_format.md").read_text()
    ours = {
        value
        for name, value in vars(headers).items()
        if name.isupper() and isinstance(value, str) and re.match(r"ce_|topicserve-|content", value)
    }

    assert len(ours) > 10
    assert [name for name in ours if f"`{name}`" not in text] == []


def test_every_kafka_setting_of_the_workers_own_is_in_the_configuration() -> None:
    """Whoever sets one is refused."""
    text = (CHECKOUT / "docs/configuration.md").read_text()

    assert [name for name in OWN_SETTINGS if f"`{name}`" not in text] == []


def test_every_reason_is_in_the_wire_format() -> None:
    """With what to do about it."""
    text = (CHECKOUT / "docs/wire_format.md").read_text()

    assert [reason.value for reason in Reason if f"| `{reason.value}` |" not in text] == []
