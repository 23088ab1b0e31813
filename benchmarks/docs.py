"""Writes measured tables into docs/benchmarks.md, between marks, with command and machine."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_LIBRARIES = (
    *("kafka-python", "confluent-kafka", "aiokafka", "redis"),
    *("tensorflow-cpu", "onnxruntime", "numpy"),
)


def replace_section(
    name: str, command: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Replace what stands between the section's two marks, which must be in the page."""
    text = PAGE.read_text()
    start, end = f"<!-- {name}: measured -->\n", f"<!-- {name}: end -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{PAGE} lacks the marks of the section {name!r}")
    section = [f"    {command}", "", _machine(), "", *markdown(columns, rows), ""]
    PAGE.write_text(before + start + "\n".join(section) + end + after)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return ["| " + " | ".join(line) + " |" for line in (columns, ["---"] * len(columns), *rows)]


def _machine() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    return f"{machine}; {libraries}."
