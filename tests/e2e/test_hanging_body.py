"""Real workers whose body hangs, or ends the process, when it is asked; part of `make chaos`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.docs.installed import install
from tests.support.processes.deployment import Deployment
from tests.support.processes.scale import EVERY_WAY, chaos_only
from tests.support.servables.table import TABLE, table_servable
from tests.support.traffic.accounts import Sent, a_record
from topicserve.embedded.stack import Stack
from topicserve.wire import header_names as names
from topicserve.wire.result import Result

pytestmark = [chaos_only, pytest.mark.slow]

LIMIT_SECONDS = 90.0
MAX_ATTEMPTS = 3
PROJECT = """
[project]
name = "hazardous-body"
version = "1.0.0"
[project.entry-points."topicserve.bodies"]
hazardous = "hazardous_body:make_body"
"""
MODULE = """
import os
import threading

from topicserve import bodies as tb


class Hazardous:
    content_types = ("application/x-hazardous",)

    def asks(self, value, parameters):
        if value == b"abort":
            os.abort()
        if value == b"hang":
            threading.Event().wait()
        return tb.Asked(servable_name="@")

    def read(self, value, parameters):
        return tb.BodyContent(instance=value)

    def write(self, answer):
        return answer.request


def make_body(options):
    return Hazardous()
"""


def check_value(sent: Sent, result: Result) -> None:
    """Compare a result with its record: what is written is what came."""
    assert result.value == sent.value


def a_value(value: str) -> Sent:
    """Return a record of that body."""
    headers = {names.CONTENT_TYPE: "application/x-hazardous"}
    return replace(a_record(None, headers=headers), value=value.encode(), instance=value)


@pytest.mark.parametrize(("client", "guarantee"), EVERY_WAY)
def test_a_body_that_hangs_or_aborts_is_given_up_alone(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str, guarantee: str
) -> None:
    """Each worker ends at it, and notes it; all other records are answered."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(PROJECT)
    (package / "hazardous_body.py").write_text(MODULE.replace("@", TABLE))
    install(package, tmp_path / "site", monkeypatch)
    python_path = (str(package), str(tmp_path / "site"), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(python_path))
    tables: dict[str, dict[str, Any]] = {
        "kafka": {"client": client},
        "bodies": {"hazardous": {}},
        "delivery": {
            "guarantee": guarantee,
            "max_attempts": MAX_ATTEMPTS,
            "predict_timeout_seconds": 2.0,
            "shutdown_timeout_seconds": 5.0,
        },
    }
    good = [a_value(f"k{number % 10}") for number in range(500)]
    killer, hanging = a_value("abort"), a_value("hang")
    with (
        Stack() as stack,
        Deployment(
            *(stack.bootstrap_servers, stack.redis_url, tmp_path),
            *([table_servable(table)], check_value, tables),
        ) as deployment,
    ):
        worker, traffic = deployment.static_worker(), deployment.traffic
        traffic.publish([*good[:250], killer, hanging, *good[250:]])
        exit_codes: list[int | None] = []
        while traffic.owed() and len(exit_codes) <= 5 * MAX_ATTEMPTS:
            deployment.start(worker)
            traffic.until(lambda: not worker.running or not traffic.owed(), LIMIT_SECONDS)
            if not worker.running:
                exit_codes.append(worker.exit_code)

        assert traffic.seen.reasons == {killer.key: "killed_worker", hanging.key: "timed_out"}
        assert traffic.seen.answers.keys() == {one.key for one in good}
        assert worker.running
        assert 1 in exit_codes
