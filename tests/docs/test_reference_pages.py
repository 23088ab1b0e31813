from pathlib import Path

import pytest

from tools.reference_pages import (
    EXAMPLE_CONFIG,
    PAGES,
    example_config,
    keys,
    keys_of_servables,
    with_generated,
)
from topicserve.worker.config.flags import FLAGS
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import TopicsConfig, WorkerConfig
from topicserve.worker.config.served import ServedConfig


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_is_generated_is_what_the_code_says(path: Path) -> None:
    """Otherwise: python -m tools.reference_pages."""
    page = path.read_text()

    assert page == with_generated(page, PAGES[path]())


def test_the_example_is_what_the_code_says() -> None:
    """So it has every key."""
    assert EXAMPLE_CONFIG.read_text() == example_config()


def test_the_example_loads_as_the_defaults() -> None:
    """Anyone who deletes lines from it changes nothing."""
    config = load_config(EXAMPLE_CONFIG, {}, {})

    assert config == WorkerConfig(
        TopicsConfig(("digits",), "results"),
        (ServedConfig("digits", "/models/digits"),),
    )


def test_every_key_says_what_it_is_for() -> None:
    """In one sentence, which is its line in the table."""
    assert [key.dotted for key in [*keys(), *keys_of_servables()] if not key.meaning] == []


def test_every_flag_stands_for_a_key() -> None:
    """A flag whose key was renamed would set nothing."""
    known = {"servables", *(key.dotted for key in keys())}

    assert [flag.name for flag in FLAGS if flag.key not in known] == []


def test_every_key_of_a_servable_is_in_the_example() -> None:
    """Its part on servables is written by hand, because it shows what belongs together."""
    example = EXAMPLE_CONFIG.read_text().partition("[[servables]]")[2]

    assert [key.name for key in keys_of_servables() if key.name not in example] == []
