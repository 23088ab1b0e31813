"""TF Serving's tests of the file system source, and what goes beyond them. Polled by hand."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.servables.lifecycle import LIMIT_SECONDS
from tests.support.servables.streams import Heard, Said, a_path
from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError, ServableError
from topicserve.servables.core.source import connect_source_to_target
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.server.servable_config import VersionPolicy, VersionPolicyKind
from topicserve.servables.sources.completeness import CompletenessOptions
from topicserve.servables.sources.file_system import FileEntry, LocalFileSystem
from topicserve.servables.sources.file_system_storage_path_source import (
    FileSystemStoragePathSource,
    FileSystemStoragePathSourceConfig,
)
from topicserve.servables.sources.monitored_servable import ServableToMonitor

ALL = VersionPolicy(VersionPolicyKind.ALL)
AS_SEEN = CompletenessOptions(stable_scans=1)


def specific(*versions: int) -> VersionPolicy:
    """Return the policy of these versions."""
    return VersionPolicy(VersionPolicyKind.SPECIFIC, versions=versions)


def upstream(*servables: ServableToMonitor) -> FileSystemStoragePathSourceConfig:
    """Return a configuration with TF Serving's settings: nothing is checked or held back."""
    return FileSystemStoragePathSourceConfig(
        servables,
        file_system_poll_wait_seconds=-1,
        servable_versions_always_present=False,
        completeness=AS_SEEN,
    )


class Polled:
    """A source whose base paths are made for real, and a target that hears it."""

    def __init__(self, config: FileSystemStoragePathSourceConfig) -> None:
        self.source = FileSystemStoragePathSource(config)
        self.target = Heard[StoragePath]()
        connect_source_to_target(self.source, self.target)

    def poll(self) -> list[Said[StoragePath]]:
        self.source.poll()
        return self.target.take()


def make(base_path: Path, *names: str) -> str:
    """Make directories under a base path."""
    base_path.mkdir(exist_ok=True)
    for name in names:
        (base_path / name).mkdir()
    return str(base_path)


def polled(base_path: Path, policy: VersionPolicy | None = None, *names: str) -> Polled:
    """Return a source of one servable with these directories."""
    make(base_path, *names)
    return Polled(upstream(ServableToMonitor("s", str(base_path), policy or VersionPolicy())))


def versions(base_path: Path, *names: str) -> list[Said[StoragePath]]:
    """Return what is said of one servable with versions in these directories."""
    return [("s", [a_path("s", int(name), str(base_path / name)) for name in names])]


@pytest.mark.parametrize("exists", [False, True])
def test_a_servable_without_versions_is_refused_where_that_is_asked_for(
    tmp_path: Path, exists: bool
) -> None:
    """With an empty base path as with a missing one."""
    base_path = tmp_path / "base"
    if exists:
        base_path.mkdir()
    config = replace(
        upstream(ServableToMonitor("s", str(base_path))), fail_if_zero_versions_at_startup=True
    )

    with pytest.raises(NotFoundError if exists else InvalidArgumentError, match=str(base_path)):
        FileSystemStoragePathSource(config)


def test_a_servable_without_versions_is_taken_on_otherwise(tmp_path: Path) -> None:
    """An empty base path aspires nothing; a missing one is an error, and says nothing."""
    empty, missing = polled(tmp_path / "empty"), polled(tmp_path / "missing")
    (tmp_path / "missing").rmdir()

    assert empty.poll() == [("s", [])]
    with pytest.raises(InvalidArgumentError, match=r"missing.*create it"):
        missing.poll()
    assert missing.target.calls == []


def test_a_base_path_may_appear_later(tmp_path: Path) -> None:
    """Until then a poll is an error."""
    base_path = tmp_path / "base"
    source = Polled(upstream(ServableToMonitor("s", str(base_path))))
    with pytest.raises(InvalidArgumentError):
        source.poll()

    make(base_path, "3")

    assert source.poll() == versions(base_path, "3")


def test_the_latest_version_is_aspired(tmp_path: Path) -> None:
    """By default one: the highest number, whatever else lies there."""
    source = polled(tmp_path / "b", None, "17", "42", "non_numerical", "9")

    assert source.poll() == versions(tmp_path / "b", "42")


def test_all_versions_are_aspired(tmp_path: Path) -> None:
    """In the order of their numbers."""
    source = polled(tmp_path / "b", ALL, "17", "42", "9", "non_numerical")

    assert source.poll() == versions(tmp_path / "b", "9", "17", "42")


def test_the_latest_several_versions_are_aspired(tmp_path: Path) -> None:
    """The highest first."""
    source = polled(tmp_path / "b", VersionPolicy(num_versions=3), "17", "42", "30", "33", "21")

    assert source.poll() == versions(tmp_path / "b", "42", "33", "30")


def test_specific_versions_are_aspired(tmp_path: Path) -> None:
    """Exactly those that are listed and there."""
    source = polled(tmp_path / "b", specific(17, 30, 99), "17", "42", "30", "33")

    assert source.poll() == versions(tmp_path / "b", "17", "30")


def test_a_specific_version_may_have_leading_zeros(tmp_path: Path) -> None:
    """It goes by its number."""
    source = polled(tmp_path / "b", specific(17), "00017", "42")

    assert source.poll() == versions(tmp_path / "b", "00017")


def test_no_specific_versions_aspire_nothing(tmp_path: Path) -> None:
    """With TF Serving's setting."""
    source = polled(tmp_path / "b", specific(), "17")

    assert source.poll() == [("s", [])]


def test_no_number_of_latest_versions_is_one(tmp_path: Path) -> None:
    """As TF Serving reads a 0."""
    source = polled(tmp_path / "b", VersionPolicy(num_versions=0), "1", "2")

    assert source.poll() == versions(tmp_path / "b", "2")


def test_each_servable_has_a_call_of_its_own(tmp_path: Path) -> None:
    """One without versions, too."""
    servables = [
        ServableToMonitor("s0", make(tmp_path / "0", "3", "5")),
        ServableToMonitor("s1", make(tmp_path / "1", "42", "17")),
        ServableToMonitor("s2", make(tmp_path / "2")),
    ]

    assert Polled(upstream(*servables)).poll() == [
        ("s0", [a_path("s0", 5, str(tmp_path / "0" / "5"))]),
        ("s1", [a_path("s1", 42, str(tmp_path / "1" / "42"))]),
        ("s2", []),
    ]


def test_the_servables_can_be_changed(tmp_path: Path) -> None:
    """One that goes is aspired no more at once; one that stays never sees an empty list."""
    servables = [
        ServableToMonitor(f"s{number}", make(tmp_path / f"{number}", f"{number}"))
        for number in range(3)
    ]
    source = Polled(upstream(*servables[:2]))
    source.poll()

    source.source.update_config(upstream(*servables[1:]))
    at_once, at_next_poll = source.target.take(), source.poll()

    assert at_once == [("s0", [])]
    assert at_next_poll == [
        ("s1", [a_path("s1", 1, str(tmp_path / "1" / "1"))]),
        ("s2", [a_path("s2", 2, str(tmp_path / "2" / "2"))]),
    ]


def test_the_version_policy_can_be_changed(tmp_path: Path) -> None:
    """From the next poll on."""
    source = polled(tmp_path / "b", VersionPolicy(num_versions=2), "1", "02", "5", "8", "13")
    assert source.poll() == versions(tmp_path / "b", "13", "8")

    source.source.update_config(
        upstream(ServableToMonitor("s", str(tmp_path / "b"), specific(2, 5)))
    )

    assert source.target.calls == []
    assert source.poll() == versions(tmp_path / "b", "02", "5")


def test_the_poll_period_cannot_be_changed(tmp_path: Path) -> None:
    """While it runs; the error names both."""
    source = polled(tmp_path / "b").source

    with pytest.raises(InvalidArgumentError, match=r"it is -1, found 1"):
        source.update_config(replace(upstream(), file_system_poll_wait_seconds=1))


def test_a_timestamp_is_a_version(tmp_path: Path) -> None:
    """It takes more than 32 bits."""
    source = polled(tmp_path / "b", None, "20170111173521")

    assert source.poll() == versions(tmp_path / "b", "20170111173521")


def test_a_version_that_is_renamed_or_deleted_is_aspired_no_more(tmp_path: Path) -> None:
    """From the next poll on."""
    base_path = tmp_path / "b"
    source = polled(base_path, None, "1", "2", "3")
    assert source.poll() == versions(base_path, "3")

    (base_path / "3").rename(base_path / "3.denied")
    assert source.poll() == versions(base_path, "2")
    (base_path / "2").rmdir()

    assert source.poll() == versions(base_path, "1")


def test_names_of_one_number_are_one_version(tmp_path: Path) -> None:
    """Also where all are aspired; the plain name is preferred."""
    several = polled(tmp_path / "b", ALL, "001", "0001", "00001")
    plain = polled(tmp_path / "c", ALL, "001", "1", "01")

    ((_, found),) = several.poll()

    assert [one.id.version for one in found] == [1]
    assert plain.poll() == versions(tmp_path / "c", "1")


def test_an_incomplete_name_does_not_hide_a_complete_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Traffic would go back to the version before; that there are two names is logged once."""
    config = replace(
        upstream(ServableToMonitor("s", str(tmp_path))),
        completeness=CompletenessOptions(ready_marker="READY"),
    )
    make(tmp_path, "3", "007", "7")
    for name in ("3", "007"):
        (tmp_path / name / "READY").touch()
    source = Polled(config)

    first = source.poll()
    for _ in range(3):
        source.poll()
    messages = [record.getMessage() for record in caplog.records]
    (tmp_path / "7" / "READY").touch()

    assert first == versions(tmp_path, "007")
    (message,) = messages
    assert "'7', '007' are one version" in message
    assert source.poll() == versions(tmp_path, "7")


def test_the_last_version_can_be_removed_only_where_that_is_asked_for(tmp_path: Path) -> None:
    """An emptied base path, by accident or not, unloads nothing by default."""
    careless = polled(tmp_path / "b", None, "1")
    careful = Polled(
        replace(
            upstream(ServableToMonitor("s", str(tmp_path / "b"))),
            servable_versions_always_present=True,
        )
    )
    assert careless.poll() == careful.poll() == versions(tmp_path / "b", "1")

    (tmp_path / "b" / "1").rmdir()

    assert careless.poll() == [("s", [])]
    assert careful.poll() == []
    (tmp_path / "b").rmdir()
    with pytest.raises(InvalidArgumentError):
        careful.poll()
    assert careful.target.calls == []


def test_a_source_that_polls_once_polls_once(
    tmp_path: Path, closing: Callable[[Callable[[], object]], None]
) -> None:
    """A version added later is not seen; but a change of the configuration polls again."""
    base_path = tmp_path / "b"
    servable = ServableToMonitor("s", make(base_path, "1"))
    config = replace(upstream(servable), file_system_poll_wait_seconds=0)
    target, source = Signalled(), FileSystemStoragePathSource(config)
    closing(lambda: source.close(LIMIT_SECONDS))
    connect_source_to_target(source, target)
    source.start()
    first = target.wait_for_call()
    (base_path / "2").mkdir()
    nothing_more = target.calls == []

    source.update_config(config)

    assert first == versions(base_path, "1")[0]
    assert nothing_more
    assert target.wait_for_call() == versions(base_path, "2")[0]


class Signalled(Heard[StoragePath]):
    """A target whose calls can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def set_aspired_versions(self, name: str, versions: object) -> None:
        with self._changed:
            super().set_aspired_versions(name, versions)  # type: ignore[arg-type]
            self._changed.notify_all()

    def wait_for_call(self) -> Said[StoragePath]:
        with self._changed:
            assert self._changed.wait_for(lambda: self.calls, LIMIT_SECONDS)
            return self.calls.pop(0)


def test_what_has_not_changed_is_not_said_again(tmp_path: Path) -> None:
    """Unless it is asked for; every call makes loaders downstream."""
    source = polled(tmp_path / "b", None, "1")
    assert source.poll() == versions(tmp_path / "b", "1")
    assert source.poll() == []

    source.source.republish("s")
    source.source.republish("unknown")

    assert source.poll() == versions(tmp_path / "b", "1")


def test_one_bad_base_path_is_its_own_servables_affair(tmp_path: Path) -> None:
    """All others are polled; the error names the one, and is over when it is."""
    good = ServableToMonitor("good", make(tmp_path / "good", "1"))
    bad = ServableToMonitor("bad", str(tmp_path / "bad"))
    source = Polled(upstream(bad, good))

    with pytest.raises(InvalidArgumentError, match="servable bad"):
        source.poll()

    assert [name for name, _ in source.target.take()] == ["good"]
    assert [name for name in ("good", "bad") if source.source.problem(name)] == ["bad"]
    make(tmp_path / "bad", "7")
    assert [name for name, _ in source.poll()] == ["bad"]
    assert source.source.problem("bad") == ""


def test_a_bad_base_path_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not at every poll for as long as it lasts."""
    source = Polled(upstream(ServableToMonitor("s", str(tmp_path / "missing"))))

    for _ in range(3):
        with pytest.raises(ServableError):
            source.poll()

    assert len(caplog.records) == 1


def test_what_is_no_version_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, not at every poll, and in the servable's error until a version is there."""
    source = polled(tmp_path / "b", None, "v1", "0.2")

    for _ in range(3):
        source.poll()

    (record,) = caplog.records
    assert record.getMessage().endswith("; nothing is loaded yet")
    assert f"under base path {tmp_path}/b: found '0.2', 'v1'; a version is" in record.getMessage()
    assert "found '0.2', 'v1'" in source.source.problem("s")
    make(tmp_path / "b", "1")
    assert source.poll() == versions(tmp_path / "b", "1")
    source.poll()
    assert source.source.problem("s") == ""
    assert [one.getMessage() for one in caplog.records[1:]] == [
        f"servable s: '0.2', 'v1' ignored; a version is a directory named by a number from 0 to "
        f"{2**63 - 1}, such as {tmp_path}/b/1"
    ]


def test_what_is_lost_is_told_with_what_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a version was there, it stays loaded whatever becomes of the base path."""
    source = polled(tmp_path / "b", None, "1")
    source.poll()

    (tmp_path / "b" / "1").rename(tmp_path / "1")
    source.poll()

    (record,) = caplog.records
    assert record.getMessage().endswith(
        f"no complete version under base path {tmp_path}/b; what is loaded stays loaded"
    )


def test_why_the_only_version_is_left_out_is_told(tmp_path: Path) -> None:
    """In /v1/models, and not in the log alone; not any more once it serves."""
    source = polled(tmp_path, None, "1")
    os.mkfifo(tmp_path / "1/pipe")

    source.poll()

    assert source.source.problem("s") == (
        f"there is no complete version under base path {tmp_path}: {tmp_path}/1/pipe: must be a "
        "regular file, found a FIFO"
    )
    (tmp_path / "1/pipe").unlink()
    (tmp_path / "1").rename(tmp_path / "2")
    assert source.poll() == versions(tmp_path, "2")
    assert source.source.problem("s") == ""


def test_a_base_path_that_is_a_version_is_told(tmp_path: Path) -> None:
    """With the base path to set instead."""
    source = polled(tmp_path / "7", None, "variables")
    (tmp_path / "7" / "saved_model.pb").write_bytes(b"")

    source.poll()

    problem = source.source.problem("s")
    assert f"it is a version itself: set base_path to {tmp_path};" in problem


@pytest.mark.parametrize("name", ["-1", "+1", " 1", "1 ", "1.0", "1_0", "٣", "9223372036854775808"])
def test_only_digits_are_a_version(tmp_path: Path, name: str) -> None:
    """No signs, blanks, separators or other scripts, and no more than 63 bits."""
    source = polled(tmp_path / "b", ALL, name, "7")

    assert source.poll() == versions(tmp_path / "b", "7")


def test_a_file_is_not_a_version(tmp_path: Path) -> None:
    """Whatever its name."""
    source = polled(tmp_path / "b", None, "1")
    (tmp_path / "b" / "2").write_text("not a directory")

    assert source.poll() == versions(tmp_path / "b", "1")


def test_a_link_to_a_directory_is_a_version(tmp_path: Path) -> None:
    """Releases are often made so."""
    source = polled(tmp_path / "b")
    (tmp_path / "b" / "1").symlink_to(make(tmp_path / "elsewhere"))

    assert source.poll() == versions(tmp_path / "b", "1")


def test_a_servable_named_twice_is_refused(tmp_path: Path) -> None:
    """And nothing changes."""
    source = polled(tmp_path / "b", None, "1")
    twice = ServableToMonitor("twice", "/b")

    with pytest.raises(InvalidArgumentError, match="more than once: twice"):
        source.source.update_config(upstream(twice, twice))

    assert source.poll() == versions(tmp_path / "b", "1")


def test_protected_versions_are_aspired_beside_the_policys(tmp_path: Path) -> None:
    """While they are there: a label points to them."""
    servable = ServableToMonitor(
        "s", make(tmp_path / "b", "1", "2", "3"), protected_versions=frozenset({1, 3, 9})
    )

    assert Polled(upstream(servable)).poll() == versions(tmp_path / "b", "3", "1")


def test_a_version_that_is_being_copied_is_not_aspired(tmp_path: Path) -> None:
    """The one before it serves until the copy has come to rest."""
    base_path = tmp_path / "b"
    make(base_path, "1", "2")
    config = replace(
        upstream(ServableToMonitor("s", str(base_path))),
        completeness=CompletenessOptions(quiet_seconds=3600, scan_interval_seconds=0),
    )
    source = Polled(config)
    (base_path / "1" / "model").write_text("whole")
    (base_path / "2" / "model").write_text("ha")
    first = source.poll()
    (base_path / "2" / "model").write_text("half")
    (base_path / "2" / "more").write_text("")
    second = source.poll()

    third = source.poll()

    assert first == [("s", [])]
    assert second == versions(base_path, "1")
    assert third == versions(base_path, "2")


def test_a_slow_base_path_delays_no_other(
    tmp_path: Path,
    closing: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While one hangs, the others are polled again and again, and a removal does not wait."""
    hanging = tmp_path / "hanging" / "1"
    good = tmp_path / "good"
    make(tmp_path / "hanging", "1")
    make(good, "1")
    goes_on, list_files = threading.Event(), LocalFileSystem.list_files

    def hang(self: LocalFileSystem, path: str) -> list[FileEntry]:
        if path == str(hanging):
            goes_on.wait(LIMIT_SECONDS)
        return list_files(self, path)

    monkeypatch.setattr(LocalFileSystem, "list_files", hang)
    servables = [
        ServableToMonitor("hanging", str(tmp_path / "hanging")),
        ServableToMonitor("good", str(good)),
    ]
    config = replace(
        upstream(*servables),
        file_system_poll_wait_seconds=0.01,
        completeness=CompletenessOptions(stable_scans=2, quiet_seconds=0),
    )
    (good / "1" / "model").write_text("one")
    target, source = Signalled(), FileSystemStoragePathSource(config)
    connect_source_to_target(source, target)
    source.start()
    closing(lambda: source.close(LIMIT_SECONDS))
    closing(goes_on.set)
    first = target.wait_for_call()
    make(good, "2")
    (good / "2" / "model").write_text("two")
    second = target.wait_for_call()

    source.update_config(replace(config, servables=(servables[1],)))

    assert [first[1][0].id.version, second[1][0].id.version] == [1, 2]
    assert target.wait_for_call() == ("hanging", [])


def test_a_long_poll_interval_delays_neither_a_change_nor_the_end(tmp_path: Path) -> None:
    """Connecting, another configuration and closing are acted on at once."""
    base_path = tmp_path / "b"
    servable = ServableToMonitor("s", make(base_path, "1"))
    config = replace(upstream(servable), file_system_poll_wait_seconds=3600)
    target, source = Signalled(), FileSystemStoragePathSource(config)
    source.start()
    connect_source_to_target(source, target)
    first = target.wait_for_call()
    (base_path / "2").mkdir()

    source.update_config(config)
    second = target.wait_for_call()
    source.close(LIMIT_SECONDS)

    assert [first[1][0].id.version, second[1][0].id.version] == [1, 2]
    assert source._thread is not None
    assert not source._thread.is_alive()


def test_what_a_poll_finds_too_late_is_dropped(tmp_path: Path) -> None:
    """A servable that was removed while it was looked at is not aspired again."""
    base_path = make(tmp_path / "b", "1")
    source = Polled(upstream(ServableToMonitor("s", base_path)))
    monitored = source.source._monitored["s"]

    source.source.update_config(upstream())
    monitored.poll()

    assert source.target.calls == [("s", [])]
