"""What there is and what is used (TF Serving: resources/resource_tracker.h)."""

from collections.abc import Iterable

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation
from topicserve.servables.core.resources.resource_util import ResourceUtil


class ResourceTracker:
    """Keeps the sum of what is used below a total. Not thread-safe: the manager locks it."""

    def __init__(self, total: ResourceAllocation, util: ResourceUtil) -> None:
        util.verify_validity(total)
        if not util.is_bound(total):
            raise InvalidArgumentError(f"total resources must be bound to instances: {total}")
        self._util = util
        self.total = util.normalize(total)
        self.used: ResourceAllocation = {}

    def recompute_used(self, allocations: Iterable[ResourceAllocation]) -> None:
        """Take what is used from scratch."""
        used: ResourceAllocation = {}
        for allocation in allocations:
            used = self._util.add(used, allocation)
        self.used = used

    def reserve(self, allocation: ResourceAllocation) -> bool:
        """Count the allocation as used where there is room for it.

        Raises InvalidArgumentError for one that is not valid.
        """
        self._util.verify_validity(allocation)
        if not self._fits(self.used, allocation):
            return False
        self.used = self._util.add(self.used, allocation)
        return True

    def could_ever_fit(self, allocation: ResourceAllocation) -> bool:
        """Return whether there would be room if nothing else was used."""
        return self._fits({}, allocation)

    def _fits(self, used: ResourceAllocation, more: ResourceAllocation) -> bool:
        together = self._util.add(self._util.overbind(used), more)
        return self._util.less_than_or_equal(together, self.total)
