"""What the demo says while it runs: its steps, and live counts below them."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

PLAIN_INTERVAL_SECONDS = 5.0


class Screen:
    """Prints steps as they happen; the counts move on a terminal, and elsewhere come as lines."""

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console()
        self._clock = clock
        self._start = self._told_at = clock()
        self._live = Live(console=self._console, transient=True, refresh_per_second=8)

    @property
    def seconds(self) -> float:
        """Return how long it has been running."""
        return self._clock() - self._start

    def step(self, text: str) -> None:
        """Say what happens now."""
        self._say(Text(f"{self.seconds:6.1f} s  {text}"))

    def show(self, text: str) -> None:
        """Show the counts as they stand."""
        if self._console.is_terminal:
            self._live.update(Text(f"          {text}", style="cyan"))
        elif self._clock() - self._told_at >= PLAIN_INTERVAL_SECONDS:
            self._told_at = self._clock()
            self.step(text)

    def conclude(self, text: str) -> None:
        """Say a last word."""
        self._say(Text(text))

    def complain(self, text: str) -> None:
        """Say what is wrong."""
        self._say(Text.assemble(("WRONG", "bold red"), f" {text}"))

    def print(self, table: Table) -> None:
        """Print a table."""
        self._console.print(table)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def _say(self, text: Text) -> None:
        # A Text and not a string, in which rich would take what is in brackets for its own.
        self._console.print(text, soft_wrap=True)
