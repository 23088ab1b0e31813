from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes.programs import need_program, run_program
from tests.support.prometheus.alert_series import MINUTES, SUPERVISOR, Scraped
from tools.reference_pages import CHECKOUT

ALERTS = CHECKOUT / "deploy/prometheus/alerts.yml"
AFTER = 30
"""When it is asked what fires; failures begin in minute 10."""
NEW = {"job": "topicserve", "instance": "worker:2"}


def all_alerts() -> list[str]:
    """Return the names of all alerts."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"]]


def worker_down(scraped: Scraped) -> None:
    """Answer no scrape."""
    scraped.set("up", f"1x10 0x{MINUTES}")


def no_workers(scraped: Scraped) -> None:
    """Their targets are gone."""
    scraped.end(10)


def replica_down(scraped: Scraped) -> None:
    """Leave one replica of two."""
    scraped.set("topicserve_replica_up", f"1x10 0x{MINUTES}", SUPERVISOR, replica="1")


def broker_unreachable(scraped: Scraped) -> None:
    """For the rest of the time."""
    scraped.set("topicserve_broker_reachable", f"1x10 0x{MINUTES}")


def records_deleted(scraped: Scraped) -> None:
    """Lose a few, once."""
    scraped.set("topicserve_deleted_records_total", f"0x20 7x{MINUTES}", topic="digits")


def lag_grows(scraped: Scraped) -> None:
    """One partition falls behind."""
    name = "topicserve_consumer_lag_records"
    scraped.add(name, f"0+200x{MINUTES}", topic="digits", partition="0")
    scraped.add(name, f"0x{MINUTES}", topic="digits", partition="1")


def nothing_committed(scraped: Scraped) -> None:
    """With records in flight."""
    scraped.set("topicserve_commits_total", f"0x{MINUTES}", outcome="committed")


def one_replica_of_two_commits_nothing(scraped: Scraped) -> None:
    """Commit in the other one."""
    for replica, commits in (("0", f"0+9x{MINUTES}"), ("1", f"0x{MINUTES}")):
        of = {**SUPERVISOR, "replica": replica}
        scraped.add("topicserve_in_flight_records", f"9x{MINUTES}", of)
        scraped.add("topicserve_commits_total", commits, of, outcome="committed")


def dead_letter(scraped: Scraped) -> None:
    """One, of a worker that had none."""
    scraped.set("topicserve_dead_letters_total", f"0x20 1x{MINUTES}", reason="invalid_record")


def dead_letter_of_a_new_worker(scraped: Scraped) -> None:
    """Given up before the first scrape."""
    scraped.add("topicserve_dead_letters_total", f"_x20 1x{MINUTES}", NEW, reason="invalid_input")


def breaker_open(scraped: Scraped) -> None:
    """And stays so."""
    scraped.set("topicserve_breaker_open", f"0x10 1x{MINUTES}")


def version_failed(scraped: Scraped) -> None:
    """One, after none."""
    name = "topicserve_servable_failures_total"
    scraped.set(name, f"0x20 1x{MINUTES}", servable="digits", reason="DATA_LOSS")


def version_failed_in_a_new_worker(scraped: Scraped) -> None:
    """Failed before the first scrape."""
    name = "topicserve_servable_failures_total"
    scraped.add(name, f"_x20 1x{MINUTES}", NEW, servable="digits", reason="DATA_LOSS")


def version_rejected(scraped: Scraped) -> None:
    """One, after a swap."""
    name = "topicserve_rejected_versions_total"
    scraped.add(name, f"0x20 1x{MINUTES}", servable="digits")


def no_version(scraped: Scraped) -> None:
    """Unload the only one."""
    name = "topicserve_servable_state"
    scraped.set(name, f"1x10 _x{MINUTES}", servable="digits", version="1", state="AVAILABLE")


def never_a_version(scraped: Scraped) -> None:
    """Nothing was ever found for a servable."""
    name = "topicserve_servable_transitions_total"
    scraped.add(name, f"0x{MINUTES}", servable="words", state="START")


def metadata_missing(scraped: Scraped) -> None:
    """For one record in sixty."""
    name = "topicserve_metadata_lookups_total"
    scraped.set(name, f"0x10 0+10x{MINUTES}", status="missing")


def replicas_restart(scraped: Scraped) -> None:
    """Once a minute."""
    name = "topicserve_replica_restarts_total"
    scraped.set(name, f"0x24 1+1x{MINUTES}", SUPERVISOR, replica="0")


FAILURES: list[tuple[str, Callable[[Scraped], None]]] = [
    ("TopicserveWorkerDown", worker_down),
    ("TopicserveNoWorkers", no_workers),
    ("TopicserveReplicaDown", replica_down),
    ("TopicserveBrokerUnreachable", broker_unreachable),
    ("TopicserveRecordsDeleted", records_deleted),
    ("TopicserveLagGrows", lag_grows),
    ("TopicserveNothingCommitted", nothing_committed),
    ("TopicserveNothingCommitted", one_replica_of_two_commits_nothing),
    ("TopicserveDeadLetters", dead_letter),
    ("TopicserveDeadLetters", dead_letter_of_a_new_worker),
    ("TopicserveBreakerOpen", breaker_open),
    ("TopicserveVersionFailed", version_failed),
    ("TopicserveVersionFailed", version_failed_in_a_new_worker),
    ("TopicserveVersionRejected", version_rejected),
    ("TopicserveNoVersion", no_version),
    ("TopicserveNoVersion", never_a_version),
    ("TopicserveMetadataMissing", metadata_missing),
    ("TopicserveReplicasRestart", replicas_restart),
]


def promtool(directory: Path, test: dict[str, Any]) -> None:
    """Have Prometheus' own tool run one test of the rules."""
    path = directory / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [test]}))
    run_program(need_program("promtool", "prometheus"), "test", "rules", str(path))


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    """A worker that answers, commits, and has the metadata of what it reads."""
    promtool(tmp_path, Scraped().firing([], AFTER))


def test_every_alert_has_a_failure_here() -> None:
    """One that nothing fires is a promise no one has looked at."""
    assert {name for name, _ in FAILURES} == set(all_alerts())


@pytest.mark.parametrize(
    ("alert", "fail"), FAILURES, ids=lambda each: getattr(each, "__name__", each)
)
def test_each_failure_fires_its_alert_and_no_other(
    tmp_path: Path, alert: str, fail: Callable[[Scraped], None]
) -> None:
    """From series as a worker has them from its start: none is born with its first event."""
    scraped = Scraped()
    fail(scraped)

    promtool(tmp_path, scraped.firing([alert], AFTER))
