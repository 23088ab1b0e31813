import argparse
from pathlib import Path

import pytest

from topicserve.cli.commands import parser_of
from topicserve.cli.errors import UsageError
from topicserve.cli.replay.plan import Plan, plan_of
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.worker.config.schema import ConfigError, LogLevel, OnMissingMetadata

LIVE = """
default_servable = "letters"
[topics]
input = ["digits"]
output = "results"
shadow = "differences"
[kafka]
group_id = "live"
group_instance_id = "worker-0"
[metadata]
on_missing = "dead_letter"
wait_seconds = 5.0
delete_after_publish = true
[delivery]
transactional_id = "live-0"
[[servables]]
name = "digits"
base_path = "/models/digits"
default_version = 6
versions = [5, 6, 8]
version_labels = { stable = 6 }
canary = { share = 0.1, version = 8 }
shadow = { share = 0.1, version = 5 }
[[servables]]
name = "letters"
base_path = "/models/letters"
"""


def plan(tmp_path: Path, *words: str, text: str = LIVE) -> Plan:
    """Return the plan of what was typed."""
    path = tmp_path / "worker.toml"
    path.write_text(text)
    given = ["replay", "--config", str(path), "--from", "earliest"]
    given += [] if "--topic" in words else ["--topic", "digits"]
    given += [] if "--output-topic" in words else ["--output-topic", "digits.replayed"]
    arguments: argparse.Namespace = parser_of("replay").parse_args([*given, *words])
    return plan_of(arguments)


def test_nothing_of_the_live_worker_is_touched(tmp_path: Path) -> None:
    """Neither its group, nor its names in the cluster, nor its topics, nor its metadata."""
    config = plan(tmp_path).config

    assert config.topics.input == ("digits",)
    assert (config.topics.output, config.dead_letter_topic) == (
        "digits.replayed",
        "digits.replayed.dead-letter",
    )
    assert config.topics.shadow == ""
    assert config.kafka.group_id.startswith("topicserve-replay-")
    assert config.kafka.group_instance_id is None
    assert config.delivery.transactional_id == ""
    assert not config.metadata.delete_after_publish
    assert config.metadata.on_missing is OnMissingMetadata.PUBLISH
    assert config.metadata.wait_seconds == 0
    assert config.logging.level is LogLevel.WARNING


def test_a_version_answers_all_records(tmp_path: Path) -> None:
    """Its servable is the only one that is loaded, with that version alone."""
    found = plan(tmp_path, "--servable", "digits=7")

    (served,) = found.config.servables
    assert (served.name, served.versions, served.default_version) == ("digits", (7,), 7)
    assert (served.canary, served.shadow, served.guard_records) == (None, None, 0)
    assert (found.version, found.config.default_servable) == (7, "digits")


def test_a_label_is_the_version_that_it_stands_for_now(tmp_path: Path) -> None:
    """So that one version answers all of the replay, whatever becomes of the label."""
    assert plan(tmp_path, "--servable", "digits=stable").version == 6
    assert plan(tmp_path, "--servable", "digits=stable").job != plan(tmp_path).job


def test_a_pipeline_keeps_the_servables_of_its_steps(tmp_path: Path) -> None:
    """Only the pipeline's own version is another one."""
    text = LIVE.replace('base_path = "/models/letters"', 'base_path = "/p"\nkind = "pipeline"')

    found = plan(tmp_path, "--servable", "letters=3", text=text)

    assert [(one.name, one.versions) for one in found.config.servables] == [
        ("letters", (3,)),
        ("digits", (5, 6, 8)),
    ]
    assert (found.servable, found.config.default_servable) == ("letters", "letters")


@pytest.mark.parametrize("name", ["words", "sums"])
def test_a_servable_of_the_model_config_file_is_found(tmp_path: Path, name: str) -> None:
    """It is pinned like the others, and the steps of a pipeline may be listed there."""
    models = tmp_path / "models.config"
    models.write_text("""
        model_config_list {
          config { name: "words" base_path: "/models/words" model_platform: "tensorflow"
                   model_version_policy { specific { versions: 3 versions: 4 } }
                   version_labels { key: "stable" value: 3 } }
          config { name: "sums" base_path: "/models/sums" model_platform: "hashmap" }
        }""")
    text = f'model_config_file = "{models}"\n{LIVE}'
    text += '[[servables]]\nname = "both"\nbase_path = "/models/both"\nkind = "pipeline"\n'

    pinned = plan(tmp_path, "--servable", f"{name}=7", text=text).config
    (latest,) = plan(tmp_path, "--servable", name, text=text).config.servables
    pipeline = plan(tmp_path, "--servable", "both", text=text).config

    (served,) = pinned.servables
    assert (served.name, served.base_path, served.versions) == (name, f"/models/{name}", (7,))
    assert served.kind == {"words": "saved_model", "sums": "hashmap"}[name]
    assert (pinned.model_config_file, pinned.default_servable) == ("", name)
    assert latest.servable.version_policy.versions == ((3, 4) if name == "words" else ())
    assert {one.name for one in pipeline.servables} == {
        "both",
        "digits",
        "letters",
        "words",
        "sums",
    }
    if name == "words":
        assert plan(tmp_path, "--servable", "words=stable", text=text).version == 3


def test_a_model_config_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """With what is wrong."""
    text = f'model_config_file = "{tmp_path}/models.config"\n{LIVE}'

    with pytest.raises(InvalidArgumentError, match=r"models\.config: there is no such file"):
        plan(tmp_path, "--servable", "words", text=text)


def test_without_a_version_the_configuration_says_what_answers(tmp_path: Path) -> None:
    """But for canary and shadow, which are the live worker's."""
    found = plan(tmp_path, "--servable", "digits")

    (served,) = found.config.servables
    assert (served.versions, served.default_version, served.canary) == ((5, 6, 8), 6, None)
    assert found.version is None


def test_the_same_command_is_the_same_replay(tmp_path: Path) -> None:
    """Its group is made of what it replays; another output is another replay."""
    first = plan(tmp_path, "--servable", "digits=7")
    second = plan(tmp_path, "--servable", "digits=7", "--max-batch-size", "8")
    other = plan(tmp_path, "--servable", "digits=8")

    assert first.config.kafka.group_id == second.config.kafka.group_id
    assert first.config.kafka.group_id != other.config.kafka.group_id


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--output-topic", "digits"], "--output-topic: 'digits' is the replayed topic"),
        (["--output-topic", "results"], "--output-topic: 'results' is where live results go"),
        (
            ["--dead-letter-topic", "digits.dead-letter"],
            "--dead-letter-topic: 'digits.dead-letter' is where live dead letters go",
        ),
        (["--dead-letter-topic", "digits.replayed"], "--dead-letter-topic: is the output topic"),
        (["--live-topic", "digits.replayed"], "'digits.replayed' is where live results go"),
        (["--topic", "old", "--output-topic", "digits"], "is a topic that the worker reads"),
        (["--group", "live"], "--group: is the worker's own group"),
        (["--servable", "words"], "'words' is not configured; servables are: digits, letters"),
        (["--servable", "digits=canary"], "digits has no label 'canary'; its labels: stable"),
        (["--servable", "digits="], "--servable: must be NAME or NAME=VERSION"),
        (["--set", "metadata.redis_url"], "--set: must be KEY=VALUE"),
    ],
)
def test_what_would_be_wrong_is_refused(tmp_path: Path, words: list[str], problem: str) -> None:
    """Before anything is asked or written."""
    with pytest.raises(UsageError, match=problem):
        plan(tmp_path, *words)


def test_a_replay_needs_no_configuration_file() -> None:
    """Its servables can be given with --set."""
    words = ["replay", "--topic", "digits", "--from", "7d", "--output-topic", "again"]
    words += ["--set", "servables.digits.base_path=/models/digits", "--servable", "digits=7"]

    found = plan_of(parser_of("replay").parse_args(words))

    assert found.config.servables[0].base_path == "/models/digits"
    assert found.live_topic == ""


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    """As by the worker."""
    with pytest.raises(ConfigError, match=r"batching\.max_batch_sice"):
        plan(tmp_path, "--set", "batching.max_batch_sice=4")
