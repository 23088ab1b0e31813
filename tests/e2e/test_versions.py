"""Which version answers under traffic: canary, shadow, rollout, rollback, guard, in one worker."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes.deployment import Deployment
from tests.support.processes.worker_process import WorkerProcess
from tests.support.servables.table import ENTRIES, write_table
from tests.support.traffic.accounts import Sent, a_record
from topicserve.embedded.stack import Stack
from topicserve.wire.result import Result
from topicserve.worker.stages.routing import share_of

LIMIT_SECONDS = 60.0
CANARY_SHARE, SHADOW_SHARE = 0.1, 0.3
SERVABLES: Mapping[str, Mapping[str, Any]] = {
    "shared": {
        "versions": [1, 2],
        "canary": {"share": CANARY_SHARE, "version": 2},
        "shadow": {"share": SHADOW_SHARE, "version": 2},
    },
    "waiting": {"canary": {"share": 0.5, "version": 9}},
    "labelled": {"version_labels": {"stable": 1}, "guard_records": 0},
    "guarded": {"guard_records": 50},
}


class Rollouts:
    """One worker of several tables; every answer's version is noted, by servable, in order."""

    def __init__(self, stack: Stack, path: Path) -> None:
        self.path = path
        self.versions: dict[str, list[int]] = defaultdict(list)
        self.by_key: dict[bytes, int] = {}
        for name in SERVABLES:
            write_table(path / name, 1)
        for name in ("shared", "labelled"):
            write_table(path / name, 2)
        servables = [
            {"name": name, "base_path": str(path / name), "kind": "hashmap", **keys}
            for name, keys in SERVABLES.items()
        ]
        topics = {"shadow": f"differences-{path.name}", "create_partitions": 1}
        self.deployment = Deployment(
            *(stack.bootstrap_servers, stack.redis_url, path, servables, self._check),
            {"kafka": {"client": "confluent"}, "topics": topics},
        )
        self.worker: WorkerProcess

    def start(self) -> None:
        self.worker = self.deployment.worker()
        self.deployment.start(self.worker)
        self.traffic = self.deployment.traffic
        self.traffic.until(lambda: self.worker.get("/readyz")[0] == 200, LIMIT_SECONDS)

    def records(self, name: str, count: int = 20, **headers: str) -> list[Sent]:
        named = {"ce_servable": name, **headers}
        return [a_record(f"k{number % ENTRIES}", headers=named) for number in range(count)]

    def answered(self, name: str, count: int = 200, **headers: str) -> list[int]:
        """Publish records and return the versions of their answers, in the order read."""
        before = len(self.versions[name])
        self.traffic.publish(self.records(name, count, **headers))
        self.traffic.until_answered(LIMIT_SECONDS)
        assert not self.traffic.seen.dead_letters, self.traffic.seen.reasons
        return self.versions[name][before:]

    def until(self, name: str, condition: Callable[[], bool]) -> list[int]:
        """Keep records coming until a condition holds; return the versions that answered."""
        before = len(self.versions[name])
        self.traffic.until(condition, LIMIT_SECONDS, lambda: self.records(name))
        self.traffic.until_answered(LIMIT_SECONDS)
        assert not self.traffic.seen.dead_letters, self.traffic.seen.reasons
        return self.versions[name][before:]

    def is_in(self, name: str, version: int, state: str) -> Callable[[], bool]:
        """Return a condition: the worker shows the version in that state."""
        labels = {"servable": name, "version": str(version), "state": state}
        return lambda: self.worker.metric("topicserve_servable_state", **labels) == 1

    def metric(self, metric: str, **labels: str) -> float:
        return self.worker.metric(f"topicserve_{metric}_total", **labels)

    def _check(self, sent: Sent, result: Result) -> None:
        assert result.value == f"{sent.instance}@{result.version}"
        self.versions[result.servable].append(result.version)
        self.by_key[sent.key] = result.version


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollouts]:
    """Run one worker for all tests here."""
    with Stack() as stack:
        made = Rollouts(stack, tmp_path_factory.mktemp("rollouts"))
        with made.deployment:
            made.start()
            yield made


def table(title: str, rows: Mapping[str, object]) -> None:
    """Print what was counted; pytest shows it with -s."""
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:<48} {value}")


def test_a_canary_and_a_shadow_take_exactly_their_shares(rollouts: Rollouts) -> None:
    """Version 1 answers all others, and the shadow never compares version 2 with itself."""
    records = rollouts.records("shared", 2_000)
    ids = [record.key.decode() for record in records]
    canary = {one for one in ids if share_of(one) < CANARY_SHARE}
    shadowed = {one for one in ids if share_of(one) < SHADOW_SHARE}
    rollouts.traffic.publish(records)
    rollouts.traffic.until_answered(LIMIT_SECONDS)

    def comparisons(outcome: str) -> float:
        return rollouts.metric("shadow_comparisons", servable="shared", outcome=outcome)

    outcomes = ("equal", "different", "failed", "dropped", "unavailable", "same_version")
    rollouts.traffic.until(lambda: sum(map(comparisons, outcomes)) == len(shadowed), LIMIT_SECONDS)

    counted = Counter(rollouts.versions["shared"])
    table(
        "2,000 records, versions = [1, 2], canary 0.1 and shadow 0.3 on version 2",
        {
            "in the canary's share": len(canary),
            "answered by version 1": counted[1],
            "answered by version 2": counted[2],
            "in the shadow's share": len(shadowed),
            **{f"shadow: {outcome}": int(comparisons(outcome)) for outcome in outcomes},
        },
    )
    assert {one for one in ids if rollouts.by_key[one.encode()] == 2} == canary
    assert counted == {1: 2_000 - len(canary), 2: len(canary)}
    assert rollouts.metric("canary_records", servable="shared") == len(canary)
    assert rollouts.metric("canary_fallbacks", servable="shared") == 0
    assert comparisons("same_version") == len(canary & shadowed)
    assert comparisons("different") == len(shadowed - canary)
    for version, count in counted.items():
        labels = {"servable": "shared", "version": str(version)}
        assert rollouts.metric("results_published", **labels) == count


def test_a_missing_canary_falls_back_until_it_is_there(rollouts: Rollouts) -> None:
    """Its records are answered by the default, at once and counted."""
    missing = rollouts.answered("waiting")
    fallbacks = rollouts.metric("canary_fallbacks", servable="waiting")
    write_table(rollouts.path / "waiting", 9)
    rollouts.until("waiting", rollouts.is_in("waiting", 9, "AVAILABLE"))
    found = Counter(rollouts.answered("waiting"))

    table("canary 0.5 on version 9", {"missing": Counter(missing), "available": found})
    assert set(missing) == {1}
    assert 0 < fallbacks < 200
    assert set(found) == {1, 9}
    log = rollouts.worker.log_tail()
    assert (log.count("canary_unavailable"), log.count("canary_available")) == (1, 1)


def test_a_rollout_with_a_label_never_goes_back_to_an_older_version(rollouts: Rollouts) -> None:
    """Not while the new version loads, nor when it is broken; a rollback does."""
    name = "labelled"
    base_path = rollouts.path / name
    before = rollouts.answered(name)

    write_table(base_path, 6, "no comma\n")
    broken = rollouts.until(name, rollouts.is_in(name, 6, "LOADING"))
    broken += rollouts.answered(name)
    write_table(base_path, 7)
    rollout = rollouts.until(name, lambda: rollouts.versions[name][-1] == 7)
    after = rollouts.answered(name)
    stable = rollouts.answered(name, ce_servablelabel="stable")
    for version in (6, 7):
        (base_path / str(version)).rename(base_path / f"removed-{version}")
    rollback = rollouts.until(name, lambda: rollouts.versions[name][-1] == 2)

    table(
        "rollout with version_labels = {stable = 1}",
        {
            "version 2 serves": Counter(before),
            "version 6 comes, and is broken": Counter(broken),
            "version 7 comes": Counter(rollout),
            "after that": Counter(after),
            "records that name the label stable": Counter(stable),
            "versions 6 and 7 are removed": Counter(rollback),
        },
    )
    assert (set(before), set(broken), set(after), set(stable)) == ({2}, {2}, {7}, {1})
    assert set(rollout) == {2, 7}
    assert set(rollback) == {2, 7}
    assert rollouts.worker.get(f"/v1/models/{name}/labels/stable")[0] == 200


def test_a_version_that_fails_is_given_up_without_a_dead_letter(rollouts: Rollouts) -> None:
    """The one before answers its records; a better one takes over after it."""
    name = "guarded"
    base_path = rollouts.path / name
    before = rollouts.answered(name)

    write_table(base_path, 2, "k0,k0@2\n")  # every other key is missing
    swap = rollouts.until(name, lambda: rollouts.metric("rejected_versions", servable=name) == 1)
    after = rollouts.answered(name)
    status, page = rollouts.worker.get(f"/v1/models/{name}/versions/2")
    write_table(base_path, 3)
    better = rollouts.until(name, lambda: not rollouts.is_in(name, 1, "AVAILABLE")())

    table(
        "guard: version 2 knows one key of twenty",
        {
            "version 1 serves": Counter(before),
            "version 2 comes, until it is rejected": Counter(swap),
            "after that": Counter(after),
            "version 3 comes, until version 1 is unloaded": Counter(better),
            "records that version 1 answered for version 2": int(
                rollouts.metric("guarded_records", servable=name)
            ),
            "dead letters": len(rollouts.traffic.seen.dead_letters),
        },
    )
    assert (set(before), set(after)) == ({1}, {1})
    assert set(swap) <= {1, 2}
    assert better[-1] == 3
    assert set(better) == {1, 3}
    assert status == 200
    assert "rejected after the swap" in page
    assert '"state": "AVAILABLE"' in page
    assert "version_probation_rejected" in rollouts.worker.log_tail()
