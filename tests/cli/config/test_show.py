from pathlib import Path

import orjson
import pytest

from topicserve.cli.main import main

CONFIG = """
[topics]
input = ["in"]
output = "out"
[kafka.settings]
"security.protocol" = "SASL_SSL"
[[servables]]
name = "digits"
base_path = "/models/digits"
version_labels = { stable = 6 }
"""


def shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> dict[str, tuple[str, str]]:
    """Return value and source by key."""
    path = tmp_path / "worker.toml"
    path.write_text(CONFIG)
    assert main(["config", "show", "--config", str(path), "--json", *words]) == 0
    rows = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {row["key"]: (row["value"], row["source"]) for row in rows}


def test_each_value_says_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, the environment over it, a flag over both, or none of them."""
    monkeypatch.setenv("TOPICSERVE_TOPICS__OUTPUT", "elsewhere")
    file = str(tmp_path / "worker.toml")

    found = shown(tmp_path, capsys, "--max-batch-size", "7", "--set", "http.port=8080")

    assert found["topics.input"] == ("in", file)
    assert found["topics.output"] == ("elsewhere", "TOPICSERVE_TOPICS__OUTPUT")
    assert found["batching.max_batch_size"] == ("7", "--max-batch-size")
    assert found["http.port"] == ("8080", "--set")
    assert found["kafka.group_id"] == ("topicserve", "default")
    assert found["servables.digits.base_path"] == ("/models/digits", file)
    assert found["servables.digits.version_labels.stable"] == ("6", file)
    assert found["kafka.settings.security.protocol"] == ("SASL_SSL", file)


def test_secrets_are_hidden(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever they come from: a file that a variable names, too."""
    (tmp_path / "secret").write_text("hunter2")
    monkeypatch.setenv("TOPICSERVE_KAFKA__SETTINGS__SASL_PASSWORD_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("TOPICSERVE_METADATA__REDIS_URL", "redis://:hunter2@store:6379/0")

    found = shown(tmp_path, capsys, "--kafka-setting", "ssl.key.password=hunter2")

    assert found["kafka.settings.sasl.password"] == (
        "***",
        "TOPICSERVE_KAFKA__SETTINGS__SASL_PASSWORD_FILE",
    )
    assert found["metadata.redis_url"][0] == "redis://store:6379/0"
    assert found["kafka.settings.ssl.key.password"] == ("***", "--kafka-setting")
    assert "hunter2" not in str(found)


def test_what_is_changed_can_be_shown_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the documentation, a line a key."""
    found = shown(tmp_path, capsys, "--changed")

    assert list(found) == [
        "topics.input",
        "topics.output",
        "servables.digits.base_path",
        "servables.digits.version_labels.stable",
        "kafka.settings.security.protocol",
    ]


def test_a_person_sees_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Key, value and source."""
    shown(tmp_path, capsys)
    path = str(tmp_path / "worker.toml")

    assert main(["config", "show", "--config", path, "--changed"]) == 0

    first = capsys.readouterr().out.splitlines()[0]
    assert first.split() == ["topics.input", "in", path]


def test_a_configuration_that_a_worker_would_refuse_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the key."""
    path = tmp_path / "worker.toml"
    path.write_text(CONFIG + "\n[batching]\nmax_batch_size = 0\n")

    assert main(["config", "show", "--config", str(path)]) == 2
    assert "batching.max_batch_size: must be at least 1" in capsys.readouterr().err
