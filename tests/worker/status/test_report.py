import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.kafka.port import eventually
from tests.support.servables.core import Core, put_version
from tests.support.stages.records import ROUTE, ManualClock, a_request
from tests.support.stages.status import SaidHealth
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.server.servable_config import VersionPolicyKind
from topicserve.wire.dead_letter import DeadLetter, Reason, encode_dead_letter
from topicserve.worker.config.schema import TopicsConfig, WorkerConfig
from topicserve.worker.config.served import CanaryConfig, ServedConfig
from topicserve.worker.health.dead_letter_log import DeadLetterLog
from topicserve.worker.stages.predict import PredictWatch
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import Batch
from topicserve.worker.status.report import MAX_PARTITIONS, StatusReport, Watched
from topicserve.worker.telemetry.metrics import WorkerMetrics


class World:
    """A worker that serves a table, as far as its status is about it."""

    def __init__(self, base_path: Path) -> None:
        self.base_path = base_path
        put_version(base_path, 1)
        put_version(base_path, 2)
        put_version(base_path, 3, 'unfinished,"')
        served = ServedConfig(
            "table",
            str(base_path),
            "hashmap",
            VersionPolicyKind.ALL,
            canary=CanaryConfig(0.25, version=2),
        )
        self.core = Core([served.servable], max_num_load_retries=0)
        self.config = WorkerConfig(TopicsConfig(("in",), "out"), (served,))
        self.metrics = WorkerMetrics(CollectorRegistry())
        self.clock = ManualClock()
        self.predictions = PredictWatch(self.clock)
        self.dead_letters = DeadLetterLog(self.clock, lambda: 1_000.0)
        self.turn_seconds = self.unanswered_seconds = 0.0
        self.report = StatusReport(
            Watched(
                config=self.config,
                build={
                    "worker_id": "w-1",
                    "group": "g",
                    "release": "1",
                    "client": "confluent",
                    "guarantee": "exactly_once",
                },
                health=SaidHealth(),
                core=self.core.core,
                dead_letters=self.dead_letters,
                metrics=self.metrics,
                predictions=self.predictions,
                turn_seconds=lambda: self.turn_seconds,
                unanswered_seconds=lambda: self.unanswered_seconds,
                configuration={"kafka.group_id": "g"},
            ),
            self.clock,
            lambda: 1_000.0,
        )

    def get(self) -> dict[str, Any]:
        """Return the status as a program would get it."""
        found: dict[str, Any] = json.loads(self.report.json().body)
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a worker that has not begun."""
    world = World(tmp_path / "table")
    yield world
    world.report.close()
    world.core.close()


def predict_share(world: World) -> float:
    """Return the share of the time that was spent predicting."""
    (found,) = [one for one in world.get()["stages"] if one["name"] == "predict"]
    share: float = found["busy_share"]
    return share


def test_versions_are_told_with_their_states_and_why_one_failed(world: World) -> None:
    """Beside what routes records to them."""
    world.core.start()
    world.core.wait_for("table", 3, ManagerState.END)
    world.core.wait_for("table", 2, ManagerState.AVAILABLE)

    (table,) = world.get()["servables"]

    versions = {one["version"]: one for one in table["versions"]}
    assert versions[2]["state"] == "AVAILABLE"
    assert versions[2]["load_seconds"] >= 0
    assert versions[2]["error"] == ""
    assert versions[3]["state"] == "END"
    assert "hashmap.csv" in versions[3]["error"]
    assert versions[3]["load_seconds"] is None
    assert table["canary"] == {"share": 0.25, "version": 2, "label": None}
    assert table["shadow"] is None


def test_a_servable_of_which_nothing_is_known_is_told_too(world: World) -> None:
    """It is what people look for when nothing is answered."""
    (table,) = world.get()["servables"]

    assert (table["name"], table["default_version"], table["versions"]) == ("table", None, [])


def test_a_base_path_that_is_gone_is_told_while_what_was_loaded_serves(world: World) -> None:
    """No newer version can come before it is corrected."""
    world.core.start()
    for version, state in ((1, "AVAILABLE"), (2, "AVAILABLE"), (3, "END")):
        world.core.wait_for("table", version, ManagerState[state])
    before = world.get()["servables"][0]

    world.base_path.rename(world.base_path.with_name("elsewhere"))
    eventually(lambda: world.core.core.source_problem("table"))

    (table,) = world.get()["servables"]
    assert before["problem"] == ""
    assert table["default_version"] is not None
    assert str(world.base_path) in table["problem"]
    page = world.report.html("").body.decode()
    assert '<div class="failed">' in page.partition("default ")[2].partition("<ul")[0]


def test_a_prediction_counts_while_it_runs_and_only_since_the_window_began(world: World) -> None:
    """No share waits for the call to return, or has what was before the last minute."""
    with world.predictions.predicting(Batch(ROUTE, 0, [], [], 1, 0.0)):
        world.clock.now += 70.0
        world.report.start()
        world.clock.now += 10.0
        during = predict_share(world)
    world.clock.now += 30.0

    assert during == 1.0
    assert predict_share(world) == pytest.approx(10 / 40)


def test_a_prediction_that_hangs_is_told_with_how_long_it_has(world: World) -> None:
    """Its servable is named, and predict is what limits."""
    world.report.start()
    world.metrics.consumer_lag_records.labels("in", "0").set(9)
    world.metrics.consumer_lag_seconds.labels("in", "0").set(66)
    with world.predictions.predicting(Batch(ROUTE, 0, [], [], 1, 0.0)):
        world.clock.now += 66.0
        status = world.get()

    hangs = f"a prediction of {ROUTE.servable!r} has not returned for 66 s."
    assert status["state"]["sentence"].endswith(hangs)
    assert [one["name"] for one in status["stages"] if one["is_limiting"]] == ["predict"]


def test_the_partition_that_is_farthest_behind_comes_first(world: World) -> None:
    """All are counted, and as many are listed as a page can show."""
    for partition in range(MAX_PARTITIONS + 5):
        world.metrics.consumer_lag_records.labels("in", str(partition)).set(partition)
        world.metrics.consumer_lag_seconds.labels("in", str(partition)).set(partition / 10)

    lag = world.get()["lag"]

    assert lag["partition_count"] == MAX_PARTITIONS + 5
    assert len(lag["partitions"]) == MAX_PARTITIONS
    assert lag["partitions"][0] == {
        "topic": "in",
        "partition": MAX_PARTITIONS + 4,
        "records": MAX_PARTITIONS + 4,
        "seconds": (MAX_PARTITIONS + 4) / 10,
    }
    assert lag["seconds"] == (MAX_PARTITIONS + 4) / 10
    assert lag["records"] == sum(range(MAX_PARTITIONS + 5))


def test_the_newest_dead_letters_are_told_with_where_they_came_from(world: World) -> None:
    """Five of them, the newest first, and how many there were of each reason."""
    outgoing = OutgoingBatch("digits", 1)
    for offset in range(7):
        request = a_request(offset=offset)
        letter = DeadLetter.of(request.record, Reason.INVALID_INPUT, ValueError(f"no {offset}"))
        outgoing.add(request, encode_dead_letter(letter, "dead"), Reason.INVALID_INPUT)
        world.metrics.dead_letters.labels("invalid_input").inc()
    world.dead_letters.note(outgoing)

    dead_letters = world.get()["dead_letters"]

    assert dead_letters["topic"] == "in.dead-letter"
    assert dead_letters["replay_command"] == (
        "topicserve dead-letters replay --topic in.dead-letter --bootstrap-servers 127.0.0.1:9092 "
        "--client kafka-python --redis-url redis://127.0.0.1:6379/0 "
        "--key-prefix topicserve:metadata:"
    )
    assert dead_letters["replay_needs"] == []
    assert (dead_letters["total"], dead_letters["by_reason"]) == (7, {"invalid_input": 7})
    assert [one["offset"] for one in dead_letters["newest"]] == [6, 5, 4, 3, 2]
    newest = dead_letters["newest"][0]
    assert (newest["reason"], newest["at"], newest["problem"]) == ("invalid_input", 1_000.0, "no 6")
    assert newest["record_id"] == a_request(offset=6).input.record_id


def test_batches_are_told_with_why_they_ended(world: World) -> None:
    """How many rows they had, and what kept them from having more."""
    world.report.start()
    for rows, ended_by in ((1, "gathered"), (1, "gathered"), (64, "rows")):
        world.metrics.batches.labels(ended_by).inc()
        world.metrics.batch_rows.labels("table").observe(rows)
    world.clock.now += 2.0

    batches = world.get()["batches"]

    assert batches["ended_by"] == {"bytes": 0, "gathered": 2, "limit": 0, "rows": 1, "timeout": 0}
    assert (batches["per_second"], batches["mean_rows"]) == (1.5, 22.0)
    assert {one["at_most"]: one["batches"] for one in batches["rows"] if one["batches"]} == {
        1.0: 2,
        64.0: 1,
    }


def test_the_page_is_made_of_the_same(world: World) -> None:
    """Headed by the worker's name, and by its state in one sentence."""
    page = world.report.html("refresh=off").body.decode()

    assert "<h2>w-1</h2>" in page
    assert world.get()["state"]["sentence"] in page
    assert 'http-equiv="refresh"' not in page
    assert 'http-equiv="refresh"' in world.report.html("").body.decode()


def test_the_process_tells_its_memory_and_threads(world: World) -> None:
    """As the system counts them: the resident set, and every thread."""
    told = world.get()["worker"]

    assert told["memory_bytes"] > 1_000_000
    assert told["threads"] >= 1
    assert (told["worker_id"], told["group"], told["uptime_seconds"]) == ("w-1", "g", 0.0)


def test_pages_leave_no_garbage(world: World) -> None:
    """A worker's collector comes by once in half a million objects, and then all is in memory."""
    world.core.start()
    world.core.wait_for("table", 3, ManagerState.END)
    world.core.wait_for("table", 2, ManagerState.AVAILABLE)
    world.report.html("")
    world.report.json()
    gc.collect()
    gc.disable()
    try:
        for _ in range(30):
            world.report.html("")
            world.report.json()
        garbage = gc.collect()
    finally:
        gc.enable()

    assert garbage < 30, "less than one object for two pages"
