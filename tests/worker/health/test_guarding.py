from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from tests.support.processes.worker_config import MINIMAL, load
from tests.support.stages.logged import Logged
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.health.guarding import swap_guard
from topicserve.worker.telemetry.metrics import WorkerMetrics


def swap(guard: SwapGuard, name: str, answered: int, failed: int) -> int | None:
    """Swap version 1 for version 2, report records, and return the default after that."""
    guard.choose(name, lambda: [1], lambda found: found[::-1])
    guard.choose(name, lambda: [1, 2], lambda found: found[::-1])
    guard.observe(name, 2, answered, failed)
    return guard.choose(name, lambda: [1, 2], lambda found: found[::-1])


@pytest.fixture
def config(tmp_path: Path) -> WorkerConfig:
    """Return a configuration with limits for one servable."""
    return load(tmp_path, MINIMAL + "guard_share = 0.2\nguard_records = 50\n")


def test_a_rejected_version_is_counted_and_logged(
    config: WorkerConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """As a warning, with what it was decided on; the start of the probation is told as well."""
    caplog.set_level("INFO", "topicserve")
    registry = CollectorRegistry()

    default = swap(swap_guard(config, WorkerMetrics(registry)), "digits", 7, 3)

    assert default == 1
    count = registry.get_sample_value("topicserve_rejected_versions_total", {"servable": "digits"})
    assert count == 1
    assert [(one.levelname, one.message) for one in caplog.records] == [
        ("INFO", "version_probation_started"),
        ("WARNING", "version_probation_rejected"),
    ]
    assert vars(caplog.records[1])["fields"] == {
        "servable": "digits",
        "version": 2,
        "predecessor": 1,
        "records": 10,
        "failed": 3,
    }


def test_an_accepted_version_is_logged(
    config: WorkerConfig, caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """After as many records as are configured."""
    caplog.set_level("INFO", "topicserve")

    assert swap(swap_guard(config, WorkerMetrics(CollectorRegistry())), "digits", 45, 5) == 2

    assert caplog.records[-1].message == "version_probation_accepted"
    assert logged("version_probation_accepted") == [
        {"servable": "digits", "version": 2, "predecessor": 1, "records": 50, "failed": 5}
    ]


def test_servables_of_a_model_config_file_have_the_default_limits(config: WorkerConfig) -> None:
    """They have no keys of their own."""
    guard = swap_guard(replace(config, servables=()), WorkerMetrics(CollectorRegistry()))

    assert swap(guard, "listed", 7, 3) == 2
    assert swap(guard, "other", 4, 6) == 1
