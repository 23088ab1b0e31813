"""What a handle costs: look the latest version up and give it back, at rest and during swaps.

    python -m benchmarks.handle_lookup

pyperf runs each case in processes of its own and prints its mean; `--help` lists more, such as
`-o FILE` for `pyperf stats FILE`, which has the median. While versions swap, a new one is aspired
every 10 ms, which loads it, publishes it, retires the one before and unloads that: thousands of
times more often than a worker does.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyperf  # type: ignore[import-untyped]

from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.aspired_versions_manager import AspiredVersionsManager
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.simple_loader import SimpleLoader

NAME = "digits"
SWAP_SECONDS = 0.01
LIMIT_SECONDS = 10.0


def main() -> None:
    """Run both cases."""
    runner = pyperf.Runner()
    runner.metadata["description"] = "get_servable_handle with release"
    runner.bench_time_func("lookup and release, at rest", _at_rest)
    runner.bench_time_func("lookup and release, while versions swap", _while_swapping)


def _at_rest(loops: int) -> float:
    with _serving() as manager:
        return _look_up(manager, loops)


def _while_swapping(loops: int) -> float:
    with _serving() as manager, _swapping(manager):
        return _look_up(manager, loops)


def _look_up(manager: AspiredVersionsManager, loops: int) -> float:
    request = ServableRequest.latest(NAME)
    started = time.perf_counter()
    for _ in range(loops):
        with manager.get_servable_handle(request):
            pass
    return time.perf_counter() - started


@contextmanager
def _serving() -> Iterator[AspiredVersionsManager]:
    manager = AspiredVersionsManager()
    manager.start()
    _aspire(manager, 0)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not manager.list_available_servable_ids():
        assert time.monotonic() < deadline, "version 0 did not load"
    yield manager
    manager.close(LIMIT_SECONDS)


@contextmanager
def _swapping(manager: AspiredVersionsManager) -> Iterator[None]:
    stop = threading.Event()

    def swap() -> None:
        for version in itertools.count(1):
            if stop.wait(SWAP_SECONDS):
                return
            _aspire(manager, version)

    swapper = threading.Thread(target=swap)
    swapper.start()
    yield
    stop.set()
    swapper.join()


def _aspire(manager: AspiredVersionsManager, version: int) -> None:
    loader: Loader = SimpleLoader(object)
    manager.set_aspired_versions(NAME, [ServableData(ServableId(NAME, version), loader)])


if __name__ == "__main__":
    main()
