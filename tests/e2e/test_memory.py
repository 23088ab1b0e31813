"""What records become in memory is bounded: read from the kernel, of a worker that is a process."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes.memory import LOADS, Memory, measure
from tests.support.processes.scale import CHAOS, CLIENTS
from tests.support.stages.heavy_servable import install_heavy
from topicserve.embedded.stack import Stack

pytestmark = pytest.mark.servers

LARGE_RESULTS = "results of 10 MB"
# What the records that are in flight become, their results, and the client's copy of those: 2.8 is
# the most that was measured (docs/benchmarks.md).
TIMES_IN_FLIGHT = 3.0
RECORDS = 60 if CHAOS else 25
KINDS = [(name, client) for name in LOADS for client in CLIENTS]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the servable that takes every heavy record, for workers to find."""
    path = tmp_path_factory.mktemp("heavy")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [install_heavy(path), before]))
    yield path
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Share a broker and a store."""
    with Stack() as opened:
        yield opened


@pytest.mark.parametrize(("name", "client"), KINDS if CHAOS else [(LARGE_RESULTS, CLIENTS[0])])
def test_records_in_flight_take_a_bounded_multiple_of_what_is_allowed(
    name: str, client: str, stack: Stack, directory: Path, figures: Callable[[str], None]
) -> None:
    """Bodies, headers, tensors, metadata and results that are not acknowledged are counted."""
    memory: Memory = measure(name, RECORDS, client, stack, directory)

    figures(f"{memory.times_in_flight:.1f} x max_in_flight_bytes in {memory.seconds:.0f} s")
    assert memory.times_in_flight <= TIMES_IN_FLIGHT
    if name == LARGE_RESULTS:
        assert memory.results == RECORDS
