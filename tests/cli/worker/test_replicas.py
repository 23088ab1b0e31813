import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes.child_process import ChildProcess
from tools.reference_pages import CHECKOUT
from topicserve.embedded.stack import Stack

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 60
SAMPLE = CHECKOUT / "deploy/compose"
RECORDS = len((SAMPLE / "records.jsonl").read_text().splitlines())

PARTITIONS = 4
ATTEMPTS = 100
# What both replicas together say once the sample has been read once.
COUNTED = {
    "records_consumed_total": RECORDS,
    "results_published_total": RECORDS,
    "metadata_lookups_total": RECORDS,
    "record_seconds_count": RECORDS,
    "batch_rows_sum": RECORDS,
    "assigned_partitions": PARTITIONS,
    "in_flight_records": 0,
    "replica_up": 2,
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Share one embedded Kafka and Redis."""
    with Stack() as servers:
        yield servers


def topicserve(*words: str) -> str:
    """Run a command that ends by itself, and return what it prints."""
    command = [sys.executable, "-m", "topicserve", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    return done.stdout


def metric(address: str, name: str) -> float:
    """Return the sum of a metric's samples over all replicas and labels."""
    with urllib.request.urlopen(address + "/metrics", timeout=LIMIT_SECONDS) as page:
        text = page.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"topicserve_{name}"
    )


def counts(address: str) -> dict[str, float]:
    """Return what the replicas say of COUNTED; a reader may see a result before they know it."""
    counted: dict[str, float] = {}
    for _ in range(ATTEMPTS):
        counted = {name: metric(address, name) for name in COUNTED}
        if counted == COUNTED:
            break
    return counted


def replicas_of(supervisor: ChildProcess) -> list[psutil.Process]:
    """Return the processes that a supervisor has started."""
    children: list[psutil.Process] = psutil.Process(supervisor.pid).children()
    return children


def test_a_replica_that_is_killed_is_replaced_and_nothing_is_lost(
    stack: Stack, tmp_path: Path
) -> None:
    """From the command line alone, down to an orderly end."""
    kafka = ("--bootstrap-servers", stack.bootstrap_servers)
    store = ("--redis-url", stack.redis_url)
    command = [
        *(sys.executable, "-m", "topicserve", "worker", *kafka, *store, "--replicas", "2"),
        *(
            "--input-topic",
            "replicas",
            "--output-topic",
            "replicas.out",
            "--create-topics",
            str(PARTITIONS),
        ),
        *("--servable", f"capitals={SAMPLE / 'models/capitals'}"),
        *("--set", "servables.capitals.kind=hashmap", "--worker-id", "w"),
    ]
    publish = ("publish", str(SAMPLE / "records.jsonl"), "--topic", "replicas", *kafka, *store)

    with ChildProcess(command, tmp_path / "log") as supervisor:
        address = supervisor.read_line(LIMIT_SECONDS)
        topicserve(*publish)
        topicserve(
            "results", "--topic", "replicas.out", *kafka, "--follow", "--limit", str(RECORDS)
        )
        counted = counts(address)
        killed = replicas_of(supervisor)[0]
        killed.kill()
        topicserve(*publish)
        results = topicserve(
            *(
                "results",
                "--topic",
                "replicas.out",
                *kafka,
                "--follow",
                "--limit",
                str(2 * RECORDS),
            ),
        )
        restarts = metric(address, "replica_restarts_total")
        supervisor.send_signal(signal.SIGTERM)
        exit_code = supervisor.wait(LIMIT_SECONDS)

    assert len(set(results.splitlines())) == 2 * RECORDS
    assert counted == COUNTED
    assert restarts == 1
    assert exit_code == 0
    assert not killed.is_running()
