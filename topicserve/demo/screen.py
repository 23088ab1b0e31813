"""What the demo says while it runs: its steps, and live counts below them."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
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
        self._console.print(f"{self.seconds:6.1f} s  {text}", highlight=False, soft_wrap=True)

    def show(self, text: str) -> None:
        """Show the counts as they stand."""
        if self._console.is_terminal:
            self._live.update(Text(f"          {text}", style="cyan"))
        elif self._clock() - self._told_at >= PLAIN_INTERVAL_SECONDS:
            self._told_at = self._clock()
            self.step(text)

    def print(self, content: RenderableType) -> None:
        """Print a table, or a last word."""
        self._console.print(content, soft_wrap=isinstance(content, str))

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
