"""`make bench-gpu` measures on the devices that there are, and says where there is no GPU."""

from pathlib import Path

import pytest

from benchmarks import gpu
from tests.support.processes.scale import chaos_only
from tests.support.servables.models import Network, export_networks

pytestmark = pytest.mark.slow


def test_without_a_gpu_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it takes, and nothing is measured."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")

    assert gpu.main([]) == 0

    assert capsys.readouterr().out == f"{gpu.NO_GPU}\n"


@chaos_only
def test_a_device_is_measured_with_calls_of_each_size(tmp_path: Path) -> None:
    """In a process of its own; the CPU takes none of a GPU's memory."""
    export_networks(tmp_path / "network", {1: Network()})

    rows = gpu.measure(tmp_path / "network/1", "cpu", seconds=0.01)

    assert [(row[0], row[1], row[4]) for row in rows] == [
        (str(size), "cpu", "") for size in gpu.BATCH_ROWS
    ]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)
