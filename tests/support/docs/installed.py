"""Makes Python find an example package as if it were installed."""

import tomllib
from pathlib import Path
from typing import Any

import pytest


def project_of(example: Path) -> dict[str, Any]:
    """Return the table `project` of a package."""
    project: dict[str, Any] = tomllib.loads((example / "pyproject.toml").read_text())["project"]
    return project


def install(example: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the package and the metadata that installing it would write where Python looks."""
    project = project_of(example)
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
            for group, entries in project["entry-points"].items()
        )
    )
    monkeypatch.syspath_prepend(str(example))
    monkeypatch.syspath_prepend(str(site))
