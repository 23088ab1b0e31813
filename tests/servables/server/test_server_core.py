import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.servables.core import Core, a_config, put_version, status_of
from tests.support.servables.lifecycle import LIMIT_SECONDS, ManualTimer
from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.server.servable_config import (
    ServableConfig,
    VersionPolicy,
    VersionPolicyKind,
)
from topicserve.servables.server.server_core import ServerCore
from topicserve.servables.server.swap_guard import GuardLimits, SwapGuard

S = ManagerState
latest, specific, labelled = (
    ServableRequest.latest,
    ServableRequest.specific,
    ServableRequest.labelled,
)
Start = Callable[..., Core]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return what starts a core; it is closed when the test is over."""
    running: list[Core] = []

    def started(*configs: ServableConfig, **options: Any) -> Core:
        core = Core(configs, **options)
        running.append(core)
        core.start()
        return core

    yield started
    for core in running:
        core.close()


def test_what_lies_under_a_base_path_is_served(tmp_path: Path, start: Start) -> None:
    """The status reads as TF Serving's does."""
    put_version(tmp_path, 1)
    core = start(a_config("table", tmp_path))

    assert core.core.wait_until_available(LIMIT_SECONDS)

    with core.core.get_servable_handle(latest("table")) as handle:
        outputs = handle.servable.predict({"key": np.array([b"version"], object)})
    assert outputs["value"].tolist() == [b"1"]
    assert core.core.list_available_servable_ids() == [ServableId("table", 1)]
    assert core.core.model_status("table") == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def test_a_new_version_takes_over(tmp_path: Path, start: Start) -> None:
    """And the old one ends; both are in the status."""
    put_version(tmp_path, 1)
    core = start(a_config("table", tmp_path))
    core.wait_for("table", 1, S.AVAILABLE)

    put_version(tmp_path, 2)
    core.wait_for("table", 1, S.END)

    assert core.found(latest("table")) == 2
    assert status_of(core.core, "table") == {"2": "AVAILABLE", "1": "END"}


def test_a_corrupt_new_version_leaves_the_old_one_serving(tmp_path: Path, start: Start) -> None:
    """The status says what is wrong; a good version after it takes over."""
    put_version(tmp_path, 1)
    core = start(a_config("table", tmp_path), max_num_load_retries=0)
    core.wait_for("table", 1, S.AVAILABLE)

    put_version(tmp_path, 2, "no comma\n")
    broken = core.wait_for("table", 2, S.END)

    assert isinstance(broken.error, InvalidArgumentError)
    assert core.found(latest("table")) == 1
    statuses = core.core.model_status("table")["model_version_status"]
    assert statuses[0]["status"]["error_code"] == "INVALID_ARGUMENT"
    assert "hashmap.csv" in statuses[0]["status"]["error_message"]
    put_version(tmp_path, 3)
    core.wait_for("table", 1, S.END)
    assert core.found(latest("table")) == 3


def test_a_removed_version_serves_until_the_lower_one_is_loaded(
    tmp_path: Path, start: Start
) -> None:
    """As in TF Serving: the successor is the highest version left, and it must be available."""
    put_version(tmp_path, 1)
    put_version(tmp_path, 2, "no comma\n")
    put_version(tmp_path, 3)
    core = start(a_config("table", tmp_path), max_num_load_retries=0)
    core.wait_for("table", 3, S.AVAILABLE)

    (tmp_path / "3").rename(tmp_path / "removed")
    core.wait_for("table", 2, S.END)
    blocked = core.found(latest("table")), core.core.replaced_versions("table")
    (tmp_path / "2").rename(tmp_path / "broken")
    core.wait_for("table", 3, S.END)

    assert blocked == (3, [3])
    assert (core.found(latest("table")), core.core.replaced_versions("table")) == (1, [])


def test_the_reason_for_a_rejection_outlives_its_version(tmp_path: Path, start: Start) -> None:
    """The status has it until the version is loaded again."""
    guard = SwapGuard(lambda _: GuardLimits())
    put_version(tmp_path, 1)
    core = start(a_config("table", tmp_path), guard=guard)
    core.wait_for("table", 1, S.AVAILABLE)
    put_version(tmp_path, 2)
    core.wait_for("table", 2, S.AVAILABLE)

    assert core.found(ServableRequest.default("table")) == 2
    guard.observe("table", 2, 0, 10)
    (tmp_path / "2").rename(tmp_path / "removed")
    core.wait_for("table", 2, S.END)
    assert core.found(ServableRequest.default("table")) == 1

    rejected, _ = core.core.model_status("table")["model_version_status"]
    assert (rejected["version"], rejected["state"]) == ("2", "END")
    assert rejected["status"]["error_code"] == "FAILED_PRECONDITION"
    assert "rejected after the swap" in rejected["status"]["error_message"]


class PausingTimer(ManualTimer):
    """Says when a pause has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.has_paused = threading.Event()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], bool]:
        cancel = super().call_later(seconds, callback)
        self.has_paused.set()
        return cancel


def test_a_load_that_is_being_retried_says_why(tmp_path: Path, start: Start) -> None:
    """In the status, and in why there is no version; once it has succeeded, no more."""
    put_version(tmp_path, 1, "no comma\n")
    timer = PausingTimer()
    core = start(a_config("table", tmp_path), timer=timer)

    assert timer.has_paused.wait(LIMIT_SECONDS)

    (status,) = core.core.model_status("table")["model_version_status"]
    assert status["state"] == "LOADING"
    assert status["status"]["error_code"] == "INVALID_ARGUMENT"
    assert "hashmap.csv" in status["status"]["error_message"]
    assert core.core.problem("table") == f"version 1: {status['status']['error_message']}"
    (tmp_path / "1" / "hashmap.csv").write_text("version,1\n")
    timer.advance(1)
    core.wait_for("table", 1, S.AVAILABLE)
    (status,) = core.core.model_status("table")["model_version_status"]
    assert status["status"] == {"error_code": "OK", "error_message": ""}
    assert core.core.problem("table") == ""


def test_a_base_path_without_versions_says_what_was_seen(tmp_path: Path, start: Start) -> None:
    """In the status, and in why there is no version."""
    (tmp_path / "v1").mkdir()
    core = start(a_config("table", tmp_path), file_system_poll_wait_seconds=-1)

    core.core._source.poll()

    assert "found 'v1'; a version is a directory named by a number" in core.core.problem("table")
    with pytest.raises(NotFoundError, match=r"any versions of model table: .* found 'v1'"):
        core.core.model_status("table")
    assert core.core.problem("other") == ""


def test_a_pinned_version_that_is_missing_is_told_while_others_serve(
    tmp_path: Path, start: Start
) -> None:
    """Until it is there: the status page shows it."""
    put_version(tmp_path, 1)
    policy = VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(1, 4))
    core = start(
        a_config("table", tmp_path, version_policy=policy), file_system_poll_wait_seconds=-1
    )
    core.core._source.poll()
    core.wait_for("table", 1, S.AVAILABLE)

    assert core.core.source_problem("table") == (
        f"versions [4] are not under {tmp_path}, or incomplete"
    )
    put_version(tmp_path, 4)
    core.core._source.poll()

    assert core.core.source_problem("table") == ""


def test_metadata_of_a_version_can_be_asked_for(tmp_path: Path, start: Start) -> None:
    """The latest, by number, or by label."""
    put_version(tmp_path, 1)
    put_version(tmp_path, 2)
    config = a_config(
        "table",
        tmp_path,
        version_policy=VersionPolicy(VersionPolicyKind.ALL),
        version_labels={"stable": 1},
    )
    core = start(config)
    core.wait_for("table", 1, S.AVAILABLE)
    core.wait_for("table", 2, S.AVAILABLE)
    asked = core.core.model_metadata

    versions = [
        one["model_spec"]["version"]
        for one in (asked("table"), asked("table", 1), asked("table", label="stable"))
    ]

    assert versions == ["2", "1", "1"]
    signature = asked("table")["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["key"]["dtype"] == "DT_STRING"
    with pytest.raises(NotFoundError):
        asked("table", 3)
    with pytest.raises(InvalidArgumentError):
        asked("table", label="other")


def test_an_emptied_base_path_unloads_nothing(tmp_path: Path, start: Start) -> None:
    """Nor does one that has gone; what comes back is served."""
    base_path = tmp_path / "base"
    put_version(base_path, 1)
    timer = ManualTimer()
    core = start(a_config("table", base_path), timer=timer, file_system_poll_wait_seconds=-1)
    core.core._source.poll()
    core.wait_for("table", 1, S.AVAILABLE)
    base_path.rename(tmp_path / "gone")

    with pytest.raises(InvalidArgumentError):
        core.core._source.poll()
    base_path.mkdir()
    core.core._source.poll()

    assert core.found(latest("table")) == 1
    put_version(base_path, 2)
    core.core._source.poll()
    core.wait_for("table", 1, S.END)
    assert core.found(latest("table")) == 2


def test_a_missing_base_path_can_be_asked_for(tmp_path: Path, start: Start) -> None:
    """The error names servable, path and remedy; meanwhile the others are served."""
    put_version(tmp_path / "good", 1)
    core = start(a_config("good", tmp_path / "good"), a_config("bad", tmp_path / "bad"))

    with pytest.raises(InvalidArgumentError, match=r"servable bad: base path .*/bad .*create it"):
        core.core.check_base_paths()

    core.wait_for("good", 1, S.AVAILABLE)
    with pytest.raises(NotFoundError, match=r"any versions of model bad"):
        core.core.model_status("bad")


def test_a_version_that_has_ended_with_an_error_gets_another_chance(
    tmp_path: Path, start: Start
) -> None:
    """After a pause that grows; by then what was wrong may be over."""
    put_version(tmp_path, 1, "no comma\n")
    timer = ManualTimer()
    core = start(a_config("table", tmp_path), max_num_load_retries=0, timer=timer)
    core.wait_for("table", 1, S.END)
    core.core._bus.deliver()
    assert 60 in timer.pauses

    (tmp_path / "1" / "hashmap.csv").write_text("version,1\n")
    timer.advance(60)

    core.wait_for("table", 1, S.AVAILABLE)
    assert core.core.wait_until_available(LIMIT_SECONDS)


def test_an_unknown_name_is_not_found(tmp_path: Path, start: Start) -> None:
    """Neither a handle nor a status."""
    core = start(a_config("table", tmp_path))

    with pytest.raises(NotFoundError):
        core.core.get_servable_handle(latest("other"))
    with pytest.raises(NotFoundError, match="Could not find any versions of model other"):
        core.core.model_status("other")


def test_waiting_has_a_limit(tmp_path: Path, start: Start) -> None:
    """Nothing is there, so nothing becomes available."""
    core = start(a_config("table", tmp_path))

    assert not core.core.wait_until_available(0)


def test_a_servable_can_be_added_and_removed(tmp_path: Path, start: Start) -> None:
    """What stays sees nothing of it; what is removed is unloaded and unknown."""
    for name in ("old", "both", "new"):
        put_version(tmp_path / name, 1)
    old, both, new = (a_config(name, tmp_path / name) for name in ("old", "both", "new"))
    core = start(old, both)
    core.wait_for("old", 1, S.AVAILABLE)
    core.wait_for("both", 1, S.AVAILABLE)

    core.core.reload([both, new])
    core.wait_for("old", 1, S.END)
    core.wait_for("new", 1, S.AVAILABLE)

    assert core.core.servable_names() == ["both", "new"]
    assert core.found(latest("both")) == 1
    with pytest.raises(NotFoundError):
        core.core.get_servable_handle(latest("old"))
    with pytest.raises(NotFoundError):
        core.core.model_status("old")
    assert [one.manager_state for one in core.states if one.id.name == "both"] == [
        *(S.START, S.LOADING, S.AVAILABLE)
    ]


def test_a_removed_servable_can_come_back(tmp_path: Path, start: Start) -> None:
    """As a new life."""
    put_version(tmp_path, 1)
    config = a_config("table", tmp_path)
    core = start(config)
    first = core.wait_for("table", 1, S.AVAILABLE)
    core.core.reload([])
    core.wait_for("table", 1, S.END)

    core.core.reload([config])

    core.wait_until(
        lambda: next(
            (
                one
                for one in core.states
                if one.manager_state is S.AVAILABLE and one.generation > first.generation
            ),
            None,
        )
    )
    assert core.found(latest("table")) == 1


def test_a_base_path_can_change(tmp_path: Path, start: Start) -> None:
    """What lies there takes over."""
    put_version(tmp_path / "old", 1)
    put_version(tmp_path / "new", 2)
    core = start(a_config("table", tmp_path / "old"))
    core.wait_for("table", 1, S.AVAILABLE)

    core.core.reload([a_config("table", tmp_path / "new")])

    core.wait_for("table", 1, S.END)
    assert core.found(latest("table")) == 2


def test_a_version_policy_can_change(tmp_path: Path, start: Start) -> None:
    """Back to an older version, as operators do."""
    put_version(tmp_path, 1)
    put_version(tmp_path, 2)
    core = start(a_config("table", tmp_path))
    core.wait_for("table", 2, S.AVAILABLE)

    policy = VersionPolicy(VersionPolicyKind.SPECIFIC, versions=(1,))
    core.core.reload([a_config("table", tmp_path, version_policy=policy)])

    core.wait_for("table", 2, S.END)
    assert core.found(latest("table")) == 1


def test_the_last_of_two_quick_reloads_counts(tmp_path: Path, start: Start) -> None:
    """However far the first one came."""
    for name in ("a", "b", "c"):
        put_version(tmp_path / name, 1)
    a, b, c = (a_config(name, tmp_path / name) for name in ("a", "b", "c"))
    core = start(a)
    core.wait_for("a", 1, S.AVAILABLE)

    core.core.reload([a, b])
    core.core.reload([a, c])
    core.wait_for("c", 1, S.AVAILABLE)
    core.core.reload([c])
    core.core.reload([b, c])
    core.wait_for("b", 1, S.AVAILABLE)
    core.wait_for("a", 1, S.END)

    assert core.core.wait_until_available(LIMIT_SECONDS)
    assert core.core.servable_names() == ["b", "c"]
    assert core.found(latest("c")) == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([a_config("a", Path("/a")), a_config("a", Path("/b"))], "more than once: a"),
        ([a_config("a", Path("/a"), kind="nonsense")], "servable a: unknown kind 'nonsense'"),
        ([a_config("a", Path("/a"), options={"fiel": "x"})], "servable a: .*fiel"),
        ([a_config("table", Path("/a"), kind="saved_model")], "kind cannot change"),
    ],
)
def test_a_bad_configuration_is_refused_whole(
    tmp_path: Path, start: Start, bad: list[ServableConfig], message: str
) -> None:
    """The old one stays in force, and goes on being followed."""
    put_version(tmp_path, 1)
    config = a_config("table", tmp_path)
    core = start(config)
    core.wait_for("table", 1, S.AVAILABLE)

    with pytest.raises(InvalidArgumentError, match=message):
        core.core.reload([*bad, *([config] if bad[0].name != "table" else [])])

    assert core.core.configs() == [config]
    put_version(tmp_path, 2)
    core.wait_for("table", 2, S.AVAILABLE)


def test_a_bad_configuration_at_the_start_starts_nothing() -> None:
    """The error comes from the constructor."""
    with pytest.raises(InvalidArgumentError, match="unknown kind"):
        ServerCore([a_config("a", Path("/a"), kind="nonsense")])


def test_a_label_finds_its_version(tmp_path: Path, start: Start) -> None:
    """Which stays loaded for it, whatever the policy says."""
    put_version(tmp_path, 1)
    put_version(tmp_path, 2)
    core = start(a_config("table", tmp_path, version_labels={"stable": 1, "canary": 2}))
    core.wait_for("table", 1, S.AVAILABLE)
    core.wait_for("table", 2, S.AVAILABLE)

    assert core.found(labelled("table", "stable")) == 1
    assert core.found(labelled("table", "canary")) == 2
    assert core.found(latest("table")) == 2
    assert core.core.labels("table") == {"stable": 1, "canary": 2}
    with pytest.raises(InvalidArgumentError, match=r"label 'beta' of table; known are: canary"):
        core.core.get_servable_handle(labelled("table", "beta"))


def test_a_label_moves_when_its_version_is_there(tmp_path: Path, start: Start) -> None:
    """Load version 2 and call it stable in one change: requests never miss a beat."""
    put_version(tmp_path, 1)
    core = start(a_config("table", tmp_path, version_labels={"stable": 1}))
    core.wait_for("table", 1, S.AVAILABLE)

    core.core.reload([a_config("table", tmp_path, version_labels={"stable": 2})])
    before = core.found(labelled("table", "stable"))
    put_version(tmp_path, 2)
    core.wait_for("table", 1, S.END)

    assert before == 1
    assert core.found(labelled("table", "stable")) == 2


def test_a_new_label_waits_for_its_version(tmp_path: Path, start: Start) -> None:
    """Until then it is not found, as a version is not."""
    core = start(a_config("table", tmp_path, version_labels={"stable": 1}))
    with pytest.raises(NotFoundError):
        core.core.get_servable_handle(labelled("table", "stable"))

    put_version(tmp_path, 1)
    core.wait_for("table", 1, S.AVAILABLE)

    assert core.found(labelled("table", "stable")) == 1


def test_labels_can_be_as_strict_as_tf_servings(tmp_path: Path, start: Start) -> None:
    """Then a label is only given to what is available, and a reload with another is refused."""
    put_version(tmp_path, 1)
    core = start(a_config("table", tmp_path), allow_version_labels_for_unavailable_models=False)
    core.wait_for("table", 1, S.AVAILABLE)

    with pytest.raises(FailedPreconditionError, match="version 2 of table"):
        core.core.reload([a_config("table", tmp_path, version_labels={"stable": 2})])
    core.core.reload([a_config("table", tmp_path, version_labels={"stable": 1})])

    assert core.found(labelled("table", "stable")) == 1


def test_labels_can_be_switched_off(tmp_path: Path, start: Start) -> None:
    """In requests and in the configuration."""
    core = start(a_config("table", tmp_path), allow_version_labels=False)

    with pytest.raises(InvalidArgumentError, match="disabled"):
        core.core.get_servable_handle(labelled("table", "stable"))
    with pytest.raises(FailedPreconditionError, match="disabled"):
        core.core.reload([a_config("table", tmp_path, version_labels={"stable": 1})])


def test_several_handles_come_from_one_moment(tmp_path: Path, start: Start) -> None:
    """By version, by label, or latest."""
    put_version(tmp_path / "a", 1)
    put_version(tmp_path / "b", 5)
    core = start(
        a_config("a", tmp_path / "a"),
        a_config("b", tmp_path / "b", version_labels={"stable": 5}),
    )
    assert core.core.wait_until_available(LIMIT_SECONDS)

    handles = core.core.get_servable_handles(
        [latest("a"), labelled("b", "stable"), specific("b", 5)]
    )

    assert [handle.id.version for handle in handles] == [1, 5, 5]
    for handle in handles:
        handle.close()


def test_the_memory_limit_refuses_what_does_not_fit(tmp_path: Path, start: Start) -> None:
    """By the kind's estimate; a smaller one is served."""
    put_version(tmp_path / "small", 1)
    put_version(tmp_path / "large", 1, "key,value\n" * 1000)
    core = start(
        a_config("small", tmp_path / "small"),
        a_config("large", tmp_path / "large"),
        total_model_memory_limit_bytes=1000,
        max_num_load_retries=0,
    )

    refused = core.wait_for("large", 1, S.END)

    assert isinstance(refused.error, ResourceExhaustedError)
    core.wait_for("small", 1, S.AVAILABLE)


def test_servables_of_equal_options_share_an_adapter(tmp_path: Path) -> None:
    """Others do not; an adapter that no one uses any more is let go."""
    core = ServerCore(
        [
            a_config("a", tmp_path),
            a_config("b", tmp_path),
            a_config("c", tmp_path, options={"format": "json_lines"}),
        ]
    )
    routes = core._router._routes
    assert routes["a"] is routes["b"] is not routes["c"]

    core.reload([a_config("a", tmp_path)])

    assert core._router._routes == {"a": routes["a"]}
    assert core.close(LIMIT_SECONDS)


def test_the_pre_load_hook_hears_of_each_version(tmp_path: Path, start: Start) -> None:
    """Before it is loaded."""
    loaded: list[ServableId] = []
    put_version(tmp_path, 1)
    core = start(a_config("table", tmp_path), pre_load_hook=loaded.append)

    core.wait_for("table", 1, S.AVAILABLE)

    assert loaded == [ServableId("table", 1)]


def test_closing_unloads_everything(tmp_path: Path) -> None:
    """And says so; nothing is found any more."""
    put_version(tmp_path, 1)
    core = Core([a_config("table", tmp_path)])
    core.start()
    core.wait_for("table", 1, S.AVAILABLE)

    assert core.core.close(LIMIT_SECONDS)

    assert core.core.list_available_servable_ids() == []
    assert core.states[-1].manager_state is S.END


def test_closing_leaves_what_is_held(tmp_path: Path) -> None:
    """And says that; anyone who holds it may be in the middle of a call."""
    put_version(tmp_path, 1)
    core = Core([a_config("table", tmp_path)])
    core.start()
    core.wait_for("table", 1, S.AVAILABLE)
    handle = core.core.get_servable_handle(latest("table"))

    assert not core.core.close(0)
    assert handle.servable.signatures
    handle.close()


def test_a_relative_base_path_stays_where_it_was(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the process changes its directory later."""
    put_version(tmp_path / "models", 1)
    monkeypatch.chdir(tmp_path)
    core = start(a_config("table", Path("models")))
    core.wait_for("table", 1, S.AVAILABLE)
    monkeypatch.chdir("/")

    put_version(tmp_path / "models", 2)

    core.wait_for("table", 2, S.AVAILABLE)
