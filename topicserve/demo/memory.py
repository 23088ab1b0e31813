"""How much memory the demo takes in all."""

import psutil


class PeakMemory:
    """The largest sum of memory of this process and all it started, as far as looked at.

    Where the system tells (Linux), a page that several processes share is counted once between
    them (proportional set size); elsewhere once for each.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._self = psutil.Process()

    def look(self) -> None:
        """Add up what is held now."""
        held = 0
        for process in [self._self, *self._self.children(recursive=True)]:
            try:
                info = process.memory_full_info()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # it has ended since
            held += getattr(info, "pss", info.rss)
        self.peak_bytes = max(self.peak_bytes, held)
