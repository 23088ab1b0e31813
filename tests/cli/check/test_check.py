"""The command without servers: the configuration, the HTTP port and the models."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.processes.toml import to_toml
from tests.support.servables.table import TABLE, table_servable, write_table
from topicserve.cli.main import main


def a_config(directory: Path, table: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    """Write a configuration of a table with versions 1 and 2."""
    for version in (1, 2):
        write_table(directory / TABLE, version)
    servable = {**table_servable(directory / TABLE), **(table or {})}
    content = {"topics": {"input": ["in"], "output": "out"}, "servables": [servable]}
    path = directory / "worker.toml"
    path.write_text(to_toml({**content, **changes}))
    return path


def check(
    capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Return the exit code, and by severity the keys and messages."""
    code = main(["check", *words, "--offline", "--json"])
    found: dict[str, list[tuple[str, str]]] = {"ok": [], "warning": [], "problem": []}
    for line in capsys.readouterr().out.splitlines():
        finding = orjson.loads(line)
        found[finding["severity"]].append((finding["key"], finding["message"]))
    return code, found


def test_a_configuration_with_which_a_worker_serves_is_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its models are loaded and warmed up, both of them where both are served."""
    path = a_config(tmp_path, {"num_versions": 2, "version_labels": {"stable": 1}})

    code, found = check(capsys, str(path))

    assert (code, found["problem"], found["warning"]) == (0, [], [])
    loaded = [message for key, message in found["ok"] if key == f"servables.{TABLE}"]
    assert [message.split(" in ")[0] for message in loaded] == [
        "version 1 loads and warms up",
        "version 2 loads and warms up",
    ]


def test_each_key_that_is_wrong_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the first one alone."""
    path = a_config(tmp_path, {"bogus": 1}, batching={"max_batch_size": 0, "max_batch_sice": 4})

    code, found = check(capsys, str(path))

    assert code == 1
    assert [key for key, _ in found["problem"]] == [
        f"servables.{TABLE}.bogus",
        "batching.max_batch_sice",
        "batching.max_batch_size",
    ]
    assert all(str(path) in message for _, message in found["problem"])


def test_what_must_hold_between_keys_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once each of them is right."""
    code, found = check(capsys, str(a_config(tmp_path)), "--output-topic", "in")

    assert code == 1
    ((key, message),) = found["problem"]
    assert key == "topics.output"
    assert "(from --output-topic)" in message


def test_a_version_that_does_not_load_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its reason, beside the one that does."""
    path = a_config(tmp_path, {"num_versions": 2})
    write_table(tmp_path / TABLE, 3, "no table")

    code, found = check(capsys, str(path))

    assert code == 1
    ((key, message),) = found["problem"]
    assert key == f"servables.{TABLE}"
    assert message.startswith("version 3: ")


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (
            {"version_labels": {"next": 9}},
            f"servables.{TABLE}.version_labels.next",
        ),
        ({"canary": {"share": 0.1, "version": 9}}, f"servables.{TABLE}.canary"),
        ({"base_path": "/missing/models"}, f"servables.{TABLE}"),
    ],
)
def test_what_names_no_version_is_a_problem(
    table: dict[str, Any], key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A label, a canary or a base path."""
    code, found = check(capsys, str(a_config(tmp_path, table)))

    assert code == 1
    assert key in [one for one, _ in found["problem"]]


def test_a_port_in_use_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Models need not be loaded to know."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [str(a_config(tmp_path)), "--http-port", port, "--skip-models"]
        code, found = check(capsys, *words)

    assert code == 1
    ((key, message),) = found["problem"]
    assert (key, port in message) == ("http.port", True)


def test_a_person_sees_a_line_a_finding_and_a_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No colour where it is no terminal, and no secret."""
    words = [str(a_config(tmp_path)), "--kafka-setting", "sasl.password=hunter2", "--offline"]

    code = main(["check", *words, "--skip-models", "--http-port", "99999"])

    out = capsys.readouterr().out
    assert code == 1
    assert out.splitlines() == [
        "problem  http.port: must be at most 65535, found 99999 (from --http-port)",
        "1 problem, 0 warnings",
    ]
