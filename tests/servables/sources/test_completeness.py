import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.servables.lifecycle import ManualTimer
from topicserve.servables.sources import completeness as sources_completeness
from topicserve.servables.sources.completeness import MANIFEST, Completeness, CompletenessOptions
from topicserve.servables.sources.file_system import FileEntry, LocalFileSystem
from topicserve.servables.sources.monitored_servable import MonitoredServable, ServableToMonitor

NEVER_QUIET = CompletenessOptions(quiet_seconds=1e9, scan_interval_seconds=0)


def completeness(options: CompletenessOptions = NEVER_QUIET, now: float = 0) -> Completeness:
    """Return one on real files, at a time by the wall clock."""
    return Completeness(LocalFileSystem(), options, lambda: now)


def manifest(**content: str) -> str:
    """Return what sha256sum writes about files of these contents."""
    return "".join(
        f"{hashlib.sha256(text.encode()).hexdigest()}  ./{name}\n" for name, text in content.items()
    )


def test_files_that_stay_the_same_are_complete(tmp_path: Path) -> None:
    """At the second look, and from then on."""
    (tmp_path / "model").write_text("whole")
    looks = completeness()

    assert [looks.is_complete(str(tmp_path)) for _ in range(3)] == [False, True, True]


def test_a_change_starts_anew(tmp_path: Path) -> None:
    """A file that grows, and a file that comes, deep down as well."""
    (tmp_path / "variables").mkdir()
    looks, path = completeness(), str(tmp_path)
    found = []

    (tmp_path / "variables" / "data").write_text("ha")
    found.append(looks.is_complete(path))
    (tmp_path / "variables" / "data").write_text("half")
    found.append(looks.is_complete(path))
    (tmp_path / "variables" / "index").write_text("")
    found.append(looks.is_complete(path))
    found.append(looks.is_complete(path))

    assert found == [False, False, False, True]


def test_looks_in_quick_succession_count_as_one(tmp_path: Path) -> None:
    """A copy that stands still for a moment is not complete."""
    (tmp_path / "model").write_text("whole")
    time = ManualTimer()
    options = CompletenessOptions(quiet_seconds=1e9, scan_interval_seconds=0.5)
    looks = Completeness(LocalFileSystem(), options, lambda: 0, time.clock)
    found = []

    for seconds in (0, 0.1, 0.3, 0.1):
        time.advance(seconds)
        found.append(looks.is_complete(str(tmp_path)))

    assert found == [False, False, False, True]


def test_an_empty_directory_is_never_complete(tmp_path: Path) -> None:
    """It has only been begun."""
    looks = completeness(CompletenessOptions(quiet_seconds=0), now=1e12)

    assert not any(looks.is_complete(str(tmp_path)) for _ in range(5))


def test_files_that_have_long_been_quiet_need_one_look(tmp_path: Path) -> None:
    """A worker that starts does not wait for what has been there for days."""
    (tmp_path / "model").write_text("whole")
    changed_at = (tmp_path / "model").stat().st_ctime
    options = CompletenessOptions(quiet_seconds=10)

    assert not completeness(options, now=changed_at + 9).is_complete(str(tmp_path))
    assert completeness(options, now=changed_at + 10).is_complete(str(tmp_path))


def test_a_marker_decides_alone_where_one_is_asked_for(tmp_path: Path) -> None:
    """At once when it is there, and never without it."""
    (tmp_path / "model").write_text("whole")
    options = CompletenessOptions(ready_marker="READY", quiet_seconds=0)
    looks = completeness(options, now=1e12)
    without = [looks.is_complete(str(tmp_path)) for _ in range(3)]

    (tmp_path / "READY").touch()

    assert without == [False, False, False]
    assert looks.is_complete(str(tmp_path))


def test_a_manifest_that_matches_makes_it_complete_at_once(tmp_path: Path) -> None:
    """Files that it does not name do not matter."""
    (tmp_path / "model").write_text("whole")
    (tmp_path / "README").write_text("anything")
    (tmp_path / "SHA256SUMS").write_text(manifest(model="whole"))

    assert completeness().is_complete(str(tmp_path))


def test_a_manifest_waits_for_the_files_that_it_names(tmp_path: Path) -> None:
    """For as long as it takes."""
    looks = completeness()
    (tmp_path / "SHA256SUMS").write_text(manifest(model="whole", more="content"))
    (tmp_path / "model").write_text("whole")
    waited = [looks.is_complete(str(tmp_path)) for _ in range(3)]

    (tmp_path / "more").write_text("content")

    assert waited == [False, False, False]
    assert looks.is_complete(str(tmp_path))


def test_a_file_that_differs_from_its_digest_is_never_complete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However long it stays the same; the log names it, once."""
    looks = completeness(CompletenessOptions(quiet_seconds=0), now=1e12)
    (tmp_path / "SHA256SUMS").write_text(manifest(model="whole"))
    (tmp_path / "model").write_text("dented")

    assert not any(looks.is_complete(str(tmp_path)) for _ in range(4))
    assert caplog.text.count("model differs from its digest") == 1
    (tmp_path / "model").write_text("whole")
    assert looks.is_complete(str(tmp_path))


@pytest.mark.parametrize("text", ["", "\n\n", "nonsense", "\x00\xff"])
def test_a_manifest_that_says_nothing_is_not_matched(tmp_path: Path, text: str) -> None:
    """It may still be being written."""
    (tmp_path / "model").write_text("whole")
    (tmp_path / "SHA256SUMS").write_bytes(text.encode("latin-1"))

    assert not completeness().is_complete(str(tmp_path))


def test_versions_are_taken_as_seen_where_that_is_asked_for(tmp_path: Path) -> None:
    """For writers that rename a finished directory into place."""
    looks = completeness(CompletenessOptions(stable_scans=1))

    assert looks.is_complete(str(tmp_path))


def test_a_version_that_was_gone_is_looked_at_anew(tmp_path: Path) -> None:
    """It may be another one."""
    (tmp_path / "model").write_text("whole")
    looks, path = completeness(), str(tmp_path)
    looks.is_complete(path)
    assert looks.is_complete(path)

    looks.forget_all_but([])

    assert not looks.is_complete(path)


class Scripted:
    """A file system that shows other files at every look."""

    def __init__(self, scans: list[list[FileEntry]]) -> None:
        self._scans = iter(scans)

    def list_directories(self, path: str) -> list[str]:  # noqa: ARG002
        return []

    def list_files(self, path: str) -> list[FileEntry]:  # noqa: ARG002
        return next(self._scans)

    def read(self, path: str, max_bytes: int) -> bytes:
        raise FileNotFoundError(path, max_bytes)

    def sha256(self, path: str) -> str:
        raise FileNotFoundError(path)

    def join(self, path: str, name: str) -> str:
        return f"{path}/{name}"

    def list_file_names(self, path: str) -> list[str]:
        raise AssertionError(path)


@given(
    st.lists(
        st.lists(
            st.builds(FileEntry, st.just("f"), st.integers(0, 2), st.just(""), st.none()),
            max_size=2,
        ),
        max_size=12,
    ),
    st.integers(2, 4),
)
def test_complete_means_so_many_equal_looks_in_a_row(
    scans: list[list[FileEntry]], stable_scans: int
) -> None:
    """Whatever the looks show, and not one look earlier or later."""
    looks = Completeness(
        Scripted(scans), CompletenessOptions(stable_scans=stable_scans, scan_interval_seconds=0)
    )
    found = [looks.is_complete("v") for _ in scans]

    expected: list[bool] = []
    run = 0
    for index, scan in enumerate(scans):
        run = run + 1 if index and scan == scans[index - 1] else 1
        expected.append(any(expected) or (bool(scan) and run >= stable_scans))
    assert found == expected


STRANGE: dict[str, Callable[[Path], object]] = {
    "fifo": lambda version: os.mkfifo(version / "model"),
    "device": lambda version: (version / "model").symlink_to("/dev/zero"),
    "loop": lambda version: (version / "again").symlink_to(version),
    "manifest-fifo": lambda version: os.mkfifo(version / MANIFEST),
    "manifest-device": lambda version: (version / MANIFEST).symlink_to("/dev/zero"),
    "manifest-without-end": lambda version: (version / MANIFEST).write_bytes(bytes(2000)),
    "manifest-of-itself": lambda version: (version / MANIFEST).write_text(f"00  {MANIFEST}\n"),
}


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE)
def test_a_strange_version_hides_no_other(
    make: Callable[[Path], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one before it is aspired, and what is wrong is said once."""
    monkeypatch.setattr(sources_completeness, "MAX_MANIFEST_BYTES", 1000)
    good, strange = tmp_path / "1", tmp_path / "2"
    for version in (good, strange):
        version.mkdir()
        (version / "data").write_text("whole")
    make(strange)
    heard: list[list[int]] = []
    options = CompletenessOptions(quiet_seconds=0, scan_interval_seconds=0)
    monitored = MonitoredServable(
        ServableToMonitor("s", str(tmp_path)),
        options,
        lambda _, versions: heard.append([one.id.version for one in versions]),
        versions_always_present=False,
    )

    for _ in range(3):
        monitored.poll()

    assert heard == [[1]]
    assert monitored.problem == ""
    left_out = [line for line in caplog.messages if f"version {strange} is left out" in line]
    assert len(left_out) == 1


def test_a_directory_that_cannot_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a link to itself beside it, and it is taken once it can be read."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text("whole")
    (tmp_path / "3").symlink_to("3")
    list_files, refused = LocalFileSystem.list_files, [str(tmp_path / "2")]

    def list_or_refuse(self: LocalFileSystem, path: str) -> list[FileEntry]:
        if path in refused:
            raise PermissionError(13, "Permission denied", path)
        return list_files(self, path)

    monkeypatch.setattr(LocalFileSystem, "list_files", list_or_refuse)
    heard: list[list[int]] = []
    monitored = MonitoredServable(
        ServableToMonitor("s", str(tmp_path)),
        CompletenessOptions(quiet_seconds=0, scan_interval_seconds=0),
        lambda _, versions: heard.append([one.id.version for one in versions]),
        versions_always_present=False,
    )

    monitored.poll()
    refused.clear()
    while heard[-1] == [1]:  # it is looked at again after a rest
        monitored.poll()

    assert heard == [[1], [2]]


def test_a_manifest_that_names_a_file_often_is_checked_once(tmp_path: Path) -> None:
    """A digest takes as long as the file is large."""
    (tmp_path / "model").write_text("whole")
    (tmp_path / MANIFEST).write_text(manifest(model="whole") * 100)

    class Counting(LocalFileSystem):
        digests = 0

        def sha256(self, path: str) -> str:
            self.digests += 1
            return super().sha256(path)

    file_system = Counting()

    assert Completeness(file_system, CompletenessOptions()).is_complete(str(tmp_path))
    assert file_system.digests == 1


def test_a_version_that_was_refused_is_rested_from(tmp_path: Path) -> None:
    """A look that took a second is repeated after twenty."""
    clock = ManualTimer()

    class Slow(LocalFileSystem):
        looks = 0

        def list_files(self, path: str) -> list[FileEntry]:
            self.looks += 1
            clock.advance(1)
            raise PermissionError(path)

    file_system = Slow()
    looks = Completeness(file_system, CompletenessOptions(), clock=clock.clock)

    looks.is_complete(str(tmp_path))
    clock.advance(19)
    looks.is_complete(str(tmp_path))
    assert file_system.looks == 1
    clock.advance(1)
    looks.is_complete(str(tmp_path))
    assert file_system.looks == 2
