import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.servables.core import a_config, put_version
from tests.support.servables.lifecycle import LIMIT_SECONDS, ManualTimer
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.server.model_config_file import ModelConfigFile, parse_model_config
from topicserve.servables.server.servable_config import (
    ServableConfig,
    VersionPolicy,
    VersionPolicyKind,
)
from topicserve.servables.server.server_core import ServerCore

KINDS = ("saved_model", "hashmap")

# As in TF Serving's own documentation.
TF_SERVINGS = """
model_config_list {
  config {
    name: 'my_first_model'
    base_path: '/tmp/my_first_model/'
    model_platform: 'tensorflow'
  }
  config {
    name: 'my_second_model'
    base_path: '/tmp/my_second_model/'
    model_platform: 'tensorflow'
    model_version_policy {
      specific {
        versions: 42
        versions: 43
      }
    }
    version_labels { key: 'stable' value: 42 }
    version_labels { key: 'canary' value: 43 }
    logging_config { log_collector_config { type: "file" filename_prefix: "/tmp/x" }
                     sampling_config { sampling_rate: 0.01 } }
  }
}
"""


def test_tf_servings_own_examples_are_read(caplog: pytest.LogCaptureFixture) -> None:
    """Unchanged; that a logging_config does nothing is said."""
    with caplog.at_level(logging.WARNING):
        configs = parse_model_config(TF_SERVINGS, KINDS)

    assert configs == [
        ServableConfig("my_first_model", "/tmp/my_first_model/"),
        ServableConfig(
            "my_second_model",
            "/tmp/my_second_model/",
            version_policy=VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(42, 43)),
            version_labels={"stable": 42, "canary": 43},
        ),
    ]
    assert "my_second_model: its logging_config has no effect" in caplog.text


def one(text: str) -> str:
    """Return a file of one model with these fields."""
    return f'model_config_list {{ config {{ name: "m" base_path: "/m" {text} }} }}'


TENSORFLOW = 'model_platform: "tensorflow"'


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", VersionPolicy()),
        ("model_version_policy {}", VersionPolicy()),
        ("model_version_policy { latest {} }", VersionPolicy()),
        ("model_version_policy { latest { num_versions: 3 } }", VersionPolicy(num_versions=3)),
        ("model_version_policy { all {} }", VersionPolicy(VersionPolicyKind.ALL)),
        (
            "model_version_policy { specific { versions: [1, 5] } }",
            VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(1, 5)),
        ),
    ],
)
def test_every_version_policy_is_read(text: str, policy: VersionPolicy) -> None:
    """The latest one by default."""
    (config,) = parse_model_config(one(f"{TENSORFLOW} {text}"), KINDS)

    assert config.version_policy == policy


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (TENSORFLOW, "saved_model"),
        ("model_type: TENSORFLOW", "saved_model"),
        ('model_platform: "saved_model"', "saved_model"),
        ('model_platform: "hashmap"', "hashmap"),
    ],
)
def test_the_platform_says_the_kind(text: str, kind: str) -> None:
    """TF Serving's by its name there, the old model_type too, others by their own."""
    (config,) = parse_model_config(one(text), KINDS)

    assert config.kind == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (one(f"{TENSORFLOW} model_type: TENSORFLOW"), "model m: .*exclude each other"),
        (one('model_platform: "caffe"'), "model m: model_platform 'caffe' is not known"),
        (one(""), "model m: model_platform '' is not known"),
        (one("model_type: OTHER"), "model m: model_platform '' is not known"),
        ('model_config_list { config { base_path: "/m" } }', "has no name"),
        ('model_config_list { config { name: "m" } }', "model m: base_path is missing"),
        ("custom_model_config {}", "custom_model_config cannot be served"),
        ("model_config_lis {}", "not a ModelServerConfig"),
        ("model_config_list {", "not a ModelServerConfig"),
    ],
)
def test_what_cannot_be_served_is_an_error(text: str, message: str) -> None:
    """It names the model and the field."""
    with pytest.raises(InvalidArgumentError, match=message):
        parse_model_config(text, KINDS)


def test_an_empty_file_serves_nothing() -> None:
    """Which is not wrong."""
    assert parse_model_config("", KINDS) == []


class Followed:
    """A file that is followed, and what was taken over from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: list[list[str]] = []
        self.refuse = ""
        self.file = ModelConfigFile(str(path), lambda: KINDS, self._take_over)

    def _take_over(self, configs: Sequence[ServableConfig]) -> None:
        if self.refuse:
            raise InvalidArgumentError(self.refuse)
        self.taken.append([config.base_path for config in configs])


def model(base_path: str) -> str:
    """Return a file of one model that lies there."""
    return one(TENSORFLOW).replace("/m", base_path)


def test_a_changed_file_is_taken_over(tmp_path: Path) -> None:
    """Once; one that is the same is not."""
    followed = Followed(tmp_path / "models.config")
    followed.path.write_text(model("/one"))
    (first,) = followed.file.read()
    followed.file.poll()
    assert (first.base_path, followed.taken) == ("/one", [])

    followed.path.write_text(model("/two"))
    followed.file.poll()
    followed.file.poll()

    assert followed.taken == [["/two"]]


@pytest.mark.parametrize("empty", ["", " \n", "# nothing yet\n"])
def test_an_empty_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, empty: str
) -> None:
    """Its writer may have opened it and not written yet; the log says so once."""
    followed = Followed(tmp_path / "models.config")
    followed.path.write_text(model("/one"))
    followed.file.read()

    followed.path.write_text(empty)
    for _ in range(3):
        followed.file.poll()
    taken, messages = list(followed.taken), len(caplog.records)
    followed.path.write_text(model("/one"))
    followed.file.poll()

    assert (taken, messages) == ([], 1)
    assert f"{followed.path} is empty" in caplog.text
    assert followed.taken == [["/one"]]


def test_an_empty_list_takes_everything_away(tmp_path: Path) -> None:
    """As in TF Serving: it is written on purpose."""
    followed = Followed(tmp_path / "models.config")
    followed.path.write_text(model("/one"))
    followed.file.read()

    followed.path.write_text("model_config_list {}")
    followed.file.poll()

    assert followed.taken == [[]]


def test_a_bad_file_is_refused_and_the_old_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log, once; the next good one is taken over."""
    followed = Followed(tmp_path / "models.config")
    followed.path.write_text(model("/one"))
    followed.file.read()

    followed.path.write_text("nonsense")
    for _ in range(3):
        followed.file.poll()
    refused, errors = list(followed.taken), len(caplog.records)
    followed.path.write_text(model("/two"))
    followed.file.poll()

    assert (refused, errors) == ([], 1)
    assert str(followed.path) in caplog.text
    assert followed.taken == [["/two"]]


def test_a_file_that_cannot_be_served_is_refused_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the core says is in the log; nothing was taken over."""
    followed = Followed(tmp_path / "models.config")
    followed.path.write_text(model("/one"))
    followed.file.read()
    followed.refuse = "its kind cannot change"

    followed.path.write_text(model("/two"))
    followed.file.poll()

    assert "its kind cannot change" in caplog.text
    assert followed.taken == []


def test_a_file_that_has_gone_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be being replaced; at the start it is an error."""
    followed = Followed(tmp_path / "models.config")
    with pytest.raises(InvalidArgumentError, match=r"models.config cannot be read"):
        followed.file.read()
    followed.path.write_text(model("/one"))
    followed.file.read()

    followed.path.unlink()
    followed.file.poll()

    assert followed.taken == []
    assert "cannot be read" in caplog.text


def test_a_core_follows_its_file(tmp_path: Path) -> None:
    """Beside what it was given; a file that clashes with that is refused."""
    put_version(tmp_path / "given", 1)
    path, timer = tmp_path / "models.config", ManualTimer()
    listed = one('model_platform: "hashmap"').replace('"/m"', f'"{tmp_path}/listed"')
    path.write_text(listed)
    given = a_config("given", tmp_path / "given")
    core = ServerCore(
        [given],
        model_config_file=str(path),
        timer=timer,
        file_system_poll_wait_seconds=1,
    )
    core.start()
    assert core.servable_names() == ["given", "m"]

    path.write_text(listed.replace('"m"', '"n"'))
    timer.advance(1)
    changed = core.servable_names()
    path.write_text(listed.replace('"m"', '"given"'))
    timer.advance(1)
    after_clash = core.servable_names()
    core.reload([a_config("other", tmp_path / "given")])

    assert changed == after_clash == ["given", "n"]
    assert core.servable_names() == ["other", "n"]
    assert core.close(LIMIT_SECONDS)


def test_a_core_without_a_readable_file_is_not_built(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(InvalidArgumentError, match=r"missing.config cannot be read"):
        ServerCore([], model_config_file=str(tmp_path / "missing.config"))


@pytest.mark.parametrize("has_listener", [True, False])
def test_a_core_names_what_a_file_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, has_listener: bool
) -> None:
    """All of it for an empty list; an empty file, whitespace included, takes nothing away."""
    path, timer = tmp_path / "models.config", ManualTimer()
    listed = 'config { name: "%s" base_path: "' + str(tmp_path) + '" model_platform: "hashmap" }'
    path.write_text(f"model_config_list {{ {listed % 'one'} {listed % 'two'} }}")
    removed: list[list[str]] = []
    listener = {"on_removed": lambda names: removed.append(list(names))} if has_listener else {}
    core = ServerCore(
        [], model_config_file=str(path), timer=timer, file_system_poll_wait_seconds=1, **listener
    )
    core.start()

    names = []
    for text in ("", " \n\t", "model_config_list { # cut", "model_config_list {}"):
        path.write_text(text)
        timer.advance(1)
        names.append(core.servable_names())

    assert names == [["one", "two"]] * 3 + [[]]
    assert removed == ([["one", "two"]] if has_listener else [])
    said = "servables no longer configured, to be unloaded: one, two"
    assert (said in caplog.text) is not has_listener
    assert core.close(LIMIT_SECONDS)
