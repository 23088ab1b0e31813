"""A real SavedModel as a servable, and records of numbers for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.servables.models import FEATURES, Network
from tests.support.traffic.accounts import Sent, a_record
from topicserve.wire import header_names as names
from topicserve.wire.result import Result

NETWORK = "network"


def network_servable(base_path: Path) -> dict[str, Any]:
    """Return the network's entry in a worker's configuration."""
    return {"name": NETWORK, "base_path": str(base_path)}


def network_records() -> Callable[[int], list[Sent]]:
    """Return a function that makes that many records of numbers, each with its own metadata."""
    rng = np.random.default_rng(0)

    def make(records: int) -> list[Sent]:
        rows = np.round(rng.standard_normal((records, FEATURES)), 4)
        return [
            a_record(row, metadata={"first": float(row[0])}, headers={names.SERVABLE: NETWORK})
            for row in rows
        ]

    return make


def check_network_result(sent: Sent, result: Result) -> None:
    """Assert that a result is the network's of its version, with the metadata.

    Version v is Network(v), but version 3 is version 2's once more.
    """
    assert result.servable == NETWORK
    wanted = Network(seed=min(result.version, 2)).predict(np.asarray(sent.instance)[None])
    assert np.allclose(result.value, wanted[0], atol=1e-4)
    assert result.metadata == sent.metadata
