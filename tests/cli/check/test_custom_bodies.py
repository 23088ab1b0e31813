"""What `topicserve check`, `topicserve config show` and a worker's start say of [bodies]."""

from pathlib import Path

import pytest

from tests.support.docs.installed import install
from tests.support.processes.worker_config import load
from topicserve.cli.check.custom_bodies import check_custom_bodies
from topicserve.cli.check.findings import Finding, Findings, Severity
from topicserve.worker.config.schema import ConfigError
from topicserve.worker.config.shown import shown_configuration
from topicserve.worker.runtime.bodies import open_bodies

EXAMPLE = Path(__file__).parents[3] / "examples/custom_body"
OPTION = "TOPICSERVE_BODIES__MSGPACK__WITH_METADATA"


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(EXAMPLE, tmp_path / "site", monkeypatch)


def found(tmp_path: Path, environ: dict[str, str]) -> list[Finding]:
    """Return what a check of the minimal configuration finds."""
    findings: list[Finding] = []
    check_custom_bodies(load(tmp_path, environ=environ), Findings(findings.append))
    return findings


def test_a_body_is_loaded_with_its_options(tmp_path: Path) -> None:
    """They are read from the environment too, as true and numbers where they look so."""
    config = load(tmp_path, environ={OPTION: "true"})

    assert config.bodies == {"msgpack": {"with_metadata": True}}
    assert open_bodies(config).find("application/msgpack").content_type == "application/msgpack"
    (finding,) = found(tmp_path, {OPTION: "true"})
    assert (finding.severity, finding.key) == (Severity.OK, "bodies.msgpack")
    assert found(tmp_path, {}) == []


@pytest.mark.parametrize(
    ("variable", "key", "problem"),
    [
        (OPTION.replace("WITH", "WITHOUT"), "bodies.msgpack", "there is no `without_metadata`"),
        (OPTION.replace("MSGPACK", "AVRO"), "bodies.avro", "unknown body 'avro'; known are: json"),
        ("TOPICSERVE_BODIES__JSON__DEPTH", "bodies.json", "it has no options"),
    ],
)
def test_a_body_that_cannot_be_used_is_named_with_its_key(
    tmp_path: Path, variable: str, key: str, problem: str
) -> None:
    """By a check, and at the start of a worker, which does not begin."""
    (finding,) = found(tmp_path, {variable: "1"})

    assert (finding.severity, finding.key) == (Severity.PROBLEM, key)
    assert problem in finding.message
    with pytest.raises(ConfigError, match=f"^{key}: "):
        open_bodies(load(tmp_path, environ={variable: "1"}))


def test_options_of_a_body_are_hidden_unless_they_can_be_no_secret(tmp_path: Path) -> None:
    """Texts, since a body may take a password; its name is shown without options too."""
    environ = {
        OPTION: "true",
        "TOPICSERVE_BODIES__AVRO__REGISTRY_PASSWORD": "hunter2",
        "TOPICSERVE_BODIES__AVRO__PASSWORD_FILE": "hunter2",
    }
    config = load(tmp_path, environ=environ)

    shown = shown_configuration(config)

    assert shown["bodies.msgpack.with_metadata"] == "True"
    assert "bodies.avro.password_file" in shown
    assert "hunter2" not in repr(config) + repr(shown)
    named = load(tmp_path, (tmp_path / "worker.toml").read_text() + "\n[bodies.msgpack]\n")
    assert shown_configuration(named)["bodies.msgpack"] == ""
