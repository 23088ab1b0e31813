"""How much of what a servable uses (TF Serving: resources/resources.proto, resource_values.h)."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

MAIN = "main"
GPU = "gpu"
RAM_IN_BYTES = "ram_in_bytes"
PROCESSING_IN_MILLICORES = "processing_in_millicores"


class Resource(NamedTuple):
    """A kind of resource on one device, or, unbound, on any one instance of the device."""

    device: str
    kind: str
    device_instance: int | None = None


ResourceAllocation: TypeAlias = Mapping[Resource, int]
"""Quantities by resource; what is not named is none of it."""


def main_ram(size_bytes: int) -> ResourceAllocation:
    """Return so much main memory."""
    return {Resource(MAIN, RAM_IN_BYTES): size_bytes}
