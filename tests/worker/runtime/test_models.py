import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from tests.support.processes.worker_config import load
from tests.support.servables.core import HeardCore, put_version
from topicserve.servables.core.errors import InvalidArgumentError, ResourceExhaustedError
from topicserve.servables.core.resources.admission import OnInsufficientResources
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.server.server_core_options import ServerCoreOptions
from topicserve.servables.sources.completeness import CompletenessOptions
from topicserve.worker.config.models import ModelsConfig
from topicserve.worker.runtime.models import core_options, open_core

S = ManagerState
Start = Callable[..., HeardCore]
LARGE = "key,value\n" * 50
# By the kind's estimate; one of them fits, two do not.
ROOM_FOR_ONE = len(LARGE) * 9 + 100
OF_OTHERS = {"allow_version_labels", "allow_version_labels_for_unavailable_models"} | {
    *("guard", "on_removed", "pre_load_hook", "clock", "timer")
}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts the core of a configuration with these lines in [models]."""
    running: list[HeardCore] = []

    def started(models: str, *names: str, base_lines: str = "") -> HeardCore:
        served = "".join(
            f'[[servables]]\nname = "{name}"\nbase_path = "{tmp_path / name}"\nkind = "hashmap"\n'
            for name in names or ["table"]
        )
        text = (
            '[topics]\ninput = ["in"]\noutput = "out"\n'
            f"[models]\nfile_system_poll_wait_seconds = 0.01\n{models}\n{served}{base_lines}"
        )
        core = HeardCore(open_core(load(tmp_path, text), None))
        running.append(core)
        core.start()
        return core

    yield started
    for core in running:
        core.close()


@pytest.mark.parametrize(
    ("policy", "is_gap"), [("availability_preserving", False), ("resource_preserving", True)]
)
def test_the_policy_says_what_goes_first(
    tmp_path: Path, start: Start, policy: str, is_gap: bool
) -> None:
    """The old version goes before the new one loads, or the new one loads before."""
    put_version(tmp_path / "table", 1)
    core = start(f'stable_scans = 1\naspired_version_policy = "{policy}"')
    core.wait_for("table", 1, S.AVAILABLE)

    put_version(tmp_path / "table", 2)
    core.wait_for("table", 1, S.END)
    core.wait_for("table", 2, S.AVAILABLE)

    seen = [(state.id.version, state.manager_state) for state in core.states]
    assert (seen.index((1, S.END)) < seen.index((2, S.LOADING))) is is_gap


def test_a_load_beyond_the_memory_limit_fails(tmp_path: Path, start: Start) -> None:
    """By the kind's estimate, while what fits is served."""
    put_version(tmp_path / "small", 1)
    put_version(tmp_path / "large", 1, LARGE)
    core = start(
        "stable_scans = 1\nmax_num_load_retries = 0\ntotal_model_memory_limit_bytes = 200",
        "small",
        "large",
    )

    refused = core.wait_for("large", 1, S.END)

    assert isinstance(refused.error, ResourceExhaustedError)
    core.wait_for("small", 1, S.AVAILABLE)


def test_a_load_beyond_the_memory_limit_waits_for_room(tmp_path: Path, start: Start) -> None:
    """Where that is asked for: until another servable has gone."""
    put_version(tmp_path / "a", 1, LARGE)
    core = start(
        f"stable_scans = 1\ntotal_model_memory_limit_bytes = {ROOM_FOR_ONE}\n"
        'servable_versions_always_present = false\non_insufficient_resources = "wait"',
        "a",
        "b",
    )
    core.wait_for("a", 1, S.AVAILABLE)
    put_version(tmp_path / "b", 1, LARGE)
    core.wait_for("b", 1, S.START)

    shutil.rmtree(tmp_path / "a" / "1")

    core.wait_for("b", 1, S.AVAILABLE)
    seen = [(state.id.name, state.manager_state) for state in core.states]
    assert ("b", S.END) not in seen
    assert seen.index(("a", S.END)) < seen.index(("b", S.AVAILABLE))


def test_a_marker_says_that_a_version_is_complete(tmp_path: Path, start: Start) -> None:
    """One without it is not loaded, however long it has been there."""
    put_version(tmp_path / "table", 1)
    put_version(tmp_path / "table", 2)
    (tmp_path / "table" / "2" / "READY").touch()
    core = start('ready_marker = "READY"\nquiet_seconds = 0', base_lines='version_policy = "all"\n')

    core.wait_for("table", 2, S.AVAILABLE)
    assert {state.id.version for state in core.states} == {2}

    (tmp_path / "table" / "1" / "READY").touch()
    core.wait_for("table", 1, S.AVAILABLE)


@pytest.mark.parametrize(
    "lines",
    [
        "stable_scans = 1\nquiet_seconds = 1e8\nscan_interval_seconds = 1e8",
        "stable_scans = 3\nquiet_seconds = 1e8\nscan_interval_seconds = 0",
        "stable_scans = 1000\nquiet_seconds = 0\nscan_interval_seconds = 1e8",
    ],
)
def test_without_marker_looks_say_it(tmp_path: Path, start: Start, lines: str) -> None:
    """One look, several, or files that are quiet; each alone is enough."""
    put_version(tmp_path / "table", 1)

    core = start(lines)

    core.wait_for("table", 1, S.AVAILABLE)


def test_a_load_is_tried_again(tmp_path: Path, start: Start) -> None:
    """As often as configured, after the pauses configured; then the version has ended."""
    put_version(tmp_path / "table", 1, "no comma\n")
    core = start("stable_scans = 1\nmax_num_load_retries = 2\nload_retry_interval_seconds = 0")

    ended = core.wait_for("table", 1, S.END)

    assert isinstance(ended.error, InvalidArgumentError)
    assert ended.attempts == 3


def test_a_version_that_failed_starts_again_later(tmp_path: Path, start: Start) -> None:
    """After the interval configured: what was wrong with it may be over."""
    put_version(tmp_path / "table", 1, "no comma\n")
    core = start(
        "stable_scans = 1\nmax_num_load_retries = 0\nbroken_version_interval_seconds = 0.01"
    )
    core.wait_for("table", 1, S.END)

    (tmp_path / "table" / "1" / "hashmap.csv").write_text("a,b\n")

    core.wait_for("table", 1, S.AVAILABLE)


def test_the_version_of_the_default_label_answers(tmp_path: Path, start: Start) -> None:
    """Those who name none, while a later one serves too."""
    for version in (1, 2):
        put_version(tmp_path / "table", version)
    core = start(
        "stable_scans = 1",
        base_lines='versions = [1, 2]\nversion_labels = { stable = 1 }\ndefault_label = "stable"\n',
    )

    for version in (1, 2):
        core.wait_for("table", version, S.AVAILABLE)

    assert core.found(ServableRequest.default("table")) == 1


def test_a_kind_has_its_options(tmp_path: Path, start: Start) -> None:
    """Here the format of a hashmap's file."""
    put_version(tmp_path / "table", 1)
    core = start(
        "stable_scans = 1\nmax_num_load_retries = 0",
        base_lines='options = { format = "json_lines" }\n',
    )

    ended = core.wait_for("table", 1, S.END)

    assert "hashmap.jsonl" in str(ended.error)


def test_versions_that_are_gone_can_be_unloaded(tmp_path: Path, start: Start) -> None:
    """As in TF Serving; by default what is loaded stays."""
    put_version(tmp_path / "table", 1)
    core = start("stable_scans = 1\nservable_versions_always_present = false")
    core.wait_for("table", 1, S.AVAILABLE)

    shutil.rmtree(tmp_path / "table" / "1")

    core.wait_for("table", 1, S.END)


def test_threads_that_load_are_as_many_as_configured(tmp_path: Path, start: Start) -> None:
    """They start when there is work for them."""
    before = set(threading.enumerate())
    names = ["a", "b", "c", "d"]
    for name in names:
        put_version(tmp_path / name, 1)
    core = start("stable_scans = 1\nnum_load_threads = 1\nnum_unload_threads = 1", *names)
    for name in names:
        core.wait_for(name, 1, S.AVAILABLE)

    started = [one.name for one in set(threading.enumerate()) - before]
    assert len([name for name in started if name.startswith("servable-load")]) == 1


def test_every_key_is_an_option_of_the_core() -> None:
    """With its value, and with the same default; all other options are objects or a library's."""
    changed = ModelsConfig(
        file_system_poll_wait_seconds=2.0,
        num_load_threads=3,
        num_unload_threads=4,
        max_num_load_retries=6,
        load_retry_interval_seconds=7.0,
        broken_version_interval_seconds=8.0,
        total_model_memory_limit_bytes=9,
        on_insufficient_resources=OnInsufficientResources.WAIT,
        servable_versions_always_present=False,
        ready_marker="READY",
        stable_scans=10,
        scan_interval_seconds=11.0,
        quiet_seconds=12.0,
    )

    defaults, options = core_options(ModelsConfig()), core_options(changed)

    assert options == {
        "file_system_poll_wait_seconds": 2.0,
        "num_load_threads": 3,
        "num_unload_threads": 4,
        "max_num_load_retries": 6,
        "load_retry_interval_seconds": 7.0,
        "broken_version_interval_seconds": 8.0,
        "policy": defaults["policy"],
        "total_model_memory_limit_bytes": 9,
        "on_insufficient_resources": OnInsufficientResources.WAIT,
        "servable_versions_always_present": False,
        "completeness": CompletenessOptions("READY", 10, 11.0, 12.0),
    }
    assert ServerCoreOptions(**defaults) == ServerCoreOptions(completeness=CompletenessOptions())
    assert {*options, *OF_OTHERS} == {one.name for one in fields(ServerCoreOptions)}
