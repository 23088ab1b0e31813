"""Starting, stopping and changing versions under load, on Apache Kafka."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Deploy
from tests.support.processes.deployment import Deployment
from tests.support.processes.scale import WAYS
from tests.support.servables.network import check_network_result, network_records, network_servable
from tests.support.servables.table import table_records
from tests.support.stages.faults import frozen
from tests.support.traffic.accounts import Sent, a_record
from topicserve.embedded.redis_server import RedisServer

pytestmark = pytest.mark.kafka

LIMIT_SECONDS = 60.0
SHUTDOWN_SECONDS = 40.0
RECORDS_A_STEP = 40


@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_sigterm_finishes_what_was_begun(deploy: Deploy, client: str, guarantee: str) -> None:
    """It exits 0, and what it answered its successor does not answer again."""
    deployment = deploy({"kafka": {"client": client}, "delivery": {"guarantee": guarantee}})
    first, second = deployment.worker(), deployment.worker()
    deployment.start(first)
    traffic, make = deployment.traffic, table_records()
    traffic.for_outcomes(100, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))
    traffic.publish(make(3_000))

    first.send_signal(signal.SIGTERM)
    exit_code = first.wait(SHUTDOWN_SECONDS)
    deployment.start(second)
    traffic.until_answered(LIMIT_SECONDS)

    assert exit_code == 0
    assert traffic.seen.duplicates == 0
    assert not traffic.seen.dead_letters
    log = first.log()
    for event in ("version_available", "worker_started", "partitions_assigned", "worker_stopped"):
        assert len(re.findall(rf" INFO {event} ", log)) == 1, event


def test_a_second_signal_ends_a_worker_that_cannot_finish(
    deploy: Deploy, valkey: RedisServer
) -> None:
    """Its records wait for metadata that the frozen Redis never sends; they are not lost."""
    deployment = deploy({"delivery": {"shutdown_timeout_seconds": 600.0}})
    first, second = deployment.worker(), deployment.worker()
    deployment.start(first)
    traffic, make = deployment.traffic, table_records()
    traffic.publish(make(100))
    traffic.until_answered(LIMIT_SECONDS)
    with frozen(valkey.pid):
        traffic.publish(_without_metadata(100))
        traffic.until(lambda: first.metric("topicserve_in_flight_records") > 0, LIMIT_SECONDS)

        first.send_signal(signal.SIGTERM)
        traffic.until(lambda: first.get("/readyz")[0] == 503, LIMIT_SECONDS)
        first.send_signal(signal.SIGTERM)
        exit_code = first.wait(SHUTDOWN_SECONDS)
    deployment.start(second)
    traffic.until_answered(LIMIT_SECONDS)

    assert exit_code not in (0, None)
    assert not traffic.seen.dead_letters


def test_a_better_version_is_taken_under_load(
    deploy: Deploy, networks: Path, tmp_path: Path
) -> None:
    """Not one record fails, and every result is right for the version that it names."""
    base_path = tmp_path / "network"
    _publish_version(networks, base_path, 1)
    deployment = _network_deployment(deploy, base_path)
    workers = deployment.worker(), deployment.worker()
    deployment.start(*workers)
    deployment.wait_shared(*workers)
    traffic, make = deployment.traffic, network_records()
    traffic.for_outcomes(500, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))

    _publish_version(networks, base_path, 2)
    traffic.until(
        lambda: traffic.seen.versions[2] >= 500, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP)
    )
    traffic.until_answered(LIMIT_SECONDS)

    assert traffic.seen.versions[1] >= 500
    assert not traffic.seen.dead_letters
    assert traffic.seen.duplicates == 0


def test_a_corrupt_version_leaves_the_good_one_serving(
    deploy: Deploy, networks: Path, tmp_path: Path
) -> None:
    """It is reported in the status and the log; records never notice."""
    base_path = tmp_path / "network"
    _publish_version(networks, base_path, 1)
    deployment = _network_deployment(deploy, base_path)
    worker = deployment.worker()
    deployment.start(worker)
    traffic, make = deployment.traffic, network_records()
    traffic.for_outcomes(100, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))

    corrupt = tmp_path / "corrupt"
    shutil.copytree(networks / "2", corrupt)
    (corrupt / "saved_model.pb").write_bytes(b"not a saved model")
    corrupt.rename(base_path / "2")
    _until_load_failed(deployment, make)
    traffic.for_outcomes(200, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))
    traffic.until_answered(LIMIT_SECONDS)

    assert set(traffic.seen.versions) == {1}
    assert not traffic.seen.dead_letters
    status, page = worker.get("/v1/models/network")
    assert status == 200
    assert {one["version"]: one["state"] for one in json.loads(page)["model_version_status"]} == {
        "1": "AVAILABLE",
        "2": "LOADING",  # it is tried again, with growing pauses
    }


def test_a_version_cut_short_by_a_full_disk_is_got_over(
    deploy: Deploy, networks: Path, tmp_path: Path
) -> None:
    """The version before serves on, and the whole one that follows is taken."""
    base_path = tmp_path / "network"
    _publish_version(networks, base_path, 1)
    deployment = _network_deployment(deploy, base_path)
    deployment.start(deployment.worker())
    traffic, make = deployment.traffic, network_records()
    traffic.for_outcomes(100, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP))

    _copy_onto_full_disk(networks / "2", base_path / "2")
    _until_load_failed(deployment, make)
    shutil.rmtree(base_path / "2")
    _publish_version(networks, base_path, 2, as_version=3)
    traffic.until(
        lambda: traffic.seen.versions[3] >= 100, LIMIT_SECONDS, lambda: make(RECORDS_A_STEP)
    )
    traffic.until_answered(LIMIT_SECONDS)

    assert set(traffic.seen.versions) == {1, 3}
    assert not traffic.seen.dead_letters


def _without_metadata(records: int) -> list[Sent]:
    return [a_record("k1") for _ in range(records)]


def _network_deployment(deploy: Deploy, base_path: Path) -> Deployment:
    return deploy(servables=[network_servable(base_path)], check=check_network_result)


def _publish_version(
    networks: Path, base_path: Path, version: int, as_version: int | None = None
) -> None:
    base_path.mkdir(exist_ok=True)
    copied = base_path.parent / f".copied-{version}"
    shutil.copytree(networks / str(version), copied)
    copied.rename(base_path / str(as_version or version))


def _copy_onto_full_disk(source: Path, target: Path) -> None:
    """Copy file by file, each cut at 4 KiB: what is left of a copy when the disk was full."""
    blocks = "4"  # of 1024 bytes
    copy = subprocess.run(
        ["bash", "-c", f"ulimit -f {blocks}; trap '' XFSZ; cp -r {source} {target}"],
        capture_output=True,
        timeout=LIMIT_SECONDS,
    )
    assert copy.returncode != 0, "the copy was meant to run out of space"


def _until_load_failed(deployment: Deployment, make: Callable[[int], list[Sent]]) -> None:
    (worker,) = deployment.workers
    deployment.traffic.until(
        lambda: re.search(r"loading .*network version: 2.* failed", worker.log()) is not None,
        LIMIT_SECONDS,
        lambda: make(RECORDS_A_STEP),
    )
