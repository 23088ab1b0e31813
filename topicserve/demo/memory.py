"""How much memory the demo takes in all."""

import psutil


class PeakMemory:
    """The largest sum of resident memory of this process and all it started, as far as looked at.

    Pages that processes share are counted for each, so the truth is somewhat lower.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._self = psutil.Process()

    def look(self) -> None:
        """Add up what is held now."""
        held = 0
        for process in [self._self, *self._self.children(recursive=True)]:
            try:
                held += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue  # it has ended since
        self.peak_bytes = max(self.peak_bytes, held)
