"""Arithmetic on resource allocations (TF Serving: resources/resource_util.h)."""

from collections.abc import Mapping

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.resources.resource_allocation import Resource, ResourceAllocation


class ResourceUtil:
    """Knows the devices, and how many instances there are of each.

    A bound resource says which instance of its device it is on. Amounts that are not bound to an
    instance are kept apart from those that are.
    """

    def __init__(self, devices: Mapping[str, int]) -> None:
        self._devices = dict(devices)

    def verify_validity(self, allocation: ResourceAllocation) -> None:
        """Raise InvalidArgumentError for an unknown device or instance, or a negative amount."""
        for resource, quantity in allocation.items():
            instances = self._devices.get(resource.device)
            if instances is None:
                known = ", ".join(sorted(self._devices))
                raise InvalidArgumentError(f"{resource}: unknown device; there are: {known}")
            if resource.device_instance is not None and not (
                0 <= resource.device_instance < instances
            ):
                raise InvalidArgumentError(f"{resource}: the device has {instances} instances")
            if quantity < 0:
                raise InvalidArgumentError(f"{resource}: negative amount {quantity}")

    def normalize(self, allocation: ResourceAllocation) -> ResourceAllocation:
        """Return the same without zeros, and bound where the device has one instance only."""
        normal: dict[Resource, int] = {}
        for resource, quantity in allocation.items():
            if quantity:
                bound = self._bound_if_single(resource)
                normal[bound] = normal.get(bound, 0) + quantity
        return normal

    def is_bound(self, allocation: ResourceAllocation) -> bool:
        """Return whether everything says which instance it is on."""
        return all(
            self._bound_if_single(resource).device_instance is not None for resource in allocation
        )

    def add(self, left: ResourceAllocation, right: ResourceAllocation) -> ResourceAllocation:
        """Return both together."""
        total = dict(self.normalize(left))
        for resource, quantity in self.normalize(right).items():
            total[resource] = total.get(resource, 0) + quantity
        return total

    def subtract(
        self, left: ResourceAllocation, right: ResourceAllocation
    ) -> ResourceAllocation | None:
        """Return what is left of `left` without `right`, None where that is less than nothing."""
        rest = dict(self.normalize(left))
        for resource, quantity in self.normalize(right).items():
            rest[resource] = rest.get(resource, 0) - quantity
            if rest[resource] < 0:
                return None
        return self.normalize(rest)

    def less_than_or_equal(self, left: ResourceAllocation, right: ResourceAllocation) -> bool:
        """Return whether `left` fits into `right`.

        What is not bound must fit into one instance of what the bound amounts leave.
        """
        normal = self.normalize(left)
        bound = {one: amount for one, amount in normal.items() if one.device_instance is not None}
        rest = self.subtract(right, bound)
        if rest is None:
            return False
        return all(
            any(
                amount <= left_over
                for other, left_over in rest.items()
                if (other.device, other.kind) == (resource.device, resource.kind)
            )
            for resource, amount in normal.items()
            if resource.device_instance is None
        )

    def overbind(self, allocation: ResourceAllocation) -> ResourceAllocation:
        """Return the same with each unbound amount charged to every instance of its device."""
        charged: dict[Resource, int] = {}
        for resource, quantity in self.normalize(allocation).items():
            for instance in self._instances(resource):
                bound = resource._replace(device_instance=instance)
                charged[bound] = charged.get(bound, 0) + quantity
        return charged

    def _instances(self, resource: Resource) -> list[int]:
        if resource.device_instance is not None:
            return [resource.device_instance]
        return list(range(self._devices.get(resource.device, 0)))

    def _bound_if_single(self, resource: Resource) -> Resource:
        if resource.device_instance is None and self._devices.get(resource.device) == 1:
            return resource._replace(device_instance=0)
        return resource
