"""The least that a worker's configuration file must say, and what comes of variations."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import ConfigError, WorkerConfig

MINIMAL = """
[topics]
input = ["digits"]
output = "results"

[[servables]]
name = "digits"
base_path = "/models/digits"
"""


def load(
    tmp_path: Path,
    text: str = MINIMAL,
    environ: Mapping[str, str] | None = None,
    **flags: object,
) -> WorkerConfig:
    """Return the configuration of a file with this text."""
    path = tmp_path / "worker.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ or {}, flags)


def message(tmp_path: Path, text: str = MINIMAL, environ: Mapping[str, str] | None = None) -> str:
    """Return what is said about a file with this text, but for the file's own name at the end."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environ)
    return str(caught.value).removesuffix(f" (from {tmp_path / 'worker.toml'})")
