"""What a check has found: one finding a thing that was looked at, with the key that it is about."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Severity(Enum):
    """How a thing is."""

    OK = "ok"
    WARNING = "warning"
    """A worker starts, and something may go wrong later."""
    PROBLEM = "problem"
    """A worker would not start, or not serve."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: how a thing is, the key or the servable that it is about, and a sentence."""

    severity: Severity
    key: str
    message: str

    def content(self) -> dict[str, Any]:
        """Return it as a script has it."""
        return {"severity": self.severity.value, "key": self.key, "message": self.message}


class Findings:
    """Tells each finding when it is made, since models take their time, and counts the bad ones.

    One thread uses it.
    """

    def __init__(self, tell: Callable[[Finding], None]) -> None:
        self._tell = tell
        self.problems = 0
        self.warnings = 0

    def ok(self, key: str, message: str) -> None:
        """Note a thing that is as it should be."""
        self._add(Finding(Severity.OK, key, message))

    def warning(self, key: str, message: str) -> None:
        """Note a thing that may go wrong later."""
        self.warnings += 1
        self._add(Finding(Severity.WARNING, key, message))

    def problem(self, key: str, message: str) -> None:
        """Note a thing with which a worker would not start, or not serve."""
        self.problems += 1
        self._add(Finding(Severity.PROBLEM, key, message))

    def _add(self, finding: Finding) -> None:
        self._tell(finding)
