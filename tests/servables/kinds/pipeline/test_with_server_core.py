"""Kinds work together in the core that a worker serves from."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from topicserve.servables.core.errors import UnavailableError
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState
from topicserve.servables.kinds.pipeline.pipeline import PipelineServable
from topicserve.servables.server.servable_config import ServableConfig, VersionPolicy
from topicserve.servables.server.server_core import ServerCore

LIMIT_SECONDS = 60.0
POLL_SECONDS = 0.01

TRANSFORM = {
    "inputs": {"scores": {"dtype": "float32", "shape": [3]}},
    "steps": [{"step": "argmax", "input": "scores", "output": "digit"}],
    "outputs": ["digit"],
}
PIPELINE = {
    "steps": [
        {"name": "best", "servable": "argmax", "inputs": {"scores": "scores"}},
        {
            "name": "label",
            "servable": "names",
            "signature_name": "id_to_token",
            "inputs": {"id": "best.digit"},
        },
    ],
    "outputs": {"name": "label.token"},
}
SCORES = {"scores": np.array([[0, 1, 0], [0, 0, 1]], np.float32)}

Write = Callable[[str, int, str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a version's one file, whole at once."""

    def write_version(servable: str, version: int, file: str, content: str) -> None:
        unfinished = tmp_path / "unfinished"
        unfinished.mkdir()
        (unfinished / file).write_text(content)
        unfinished.rename(tmp_path / servable / str(version))

    for servable in ("argmax", "names", "digits"):
        (tmp_path / servable).mkdir()
    return write_version


@pytest.fixture
def core(tmp_path: Path) -> Iterator[ServerCore]:
    """Yield a running core over three base paths without any version."""
    kinds = {"argmax": "transform", "names": "vocabulary", "digits": "pipeline"}
    configs = [
        ServableConfig(
            name, str(tmp_path / name), kind=kind, version_policy=VersionPolicy(num_versions=2)
        )
        for name, kind in kinds.items()
    ]
    running = ServerCore(configs, file_system_poll_wait_seconds=POLL_SECONDS)
    running.start()
    yield running
    running.close(LIMIT_SECONDS)


def names(core: ServerCore) -> Any:
    """Return what the pipeline says now."""
    with core.get_servable_handle(ServableRequest.latest("digits")) as handle:
        assert list(handle.servable.signatures["serving_default"].inputs) == ["scores"]
        return handle.servable.predict(SCORES)["name"].tolist()


def test_pipeline_follows_the_swaps_of_its_steps(core: ServerCore, write: Write) -> None:
    """A step's new version speaks as soon as it is available; the pipeline stays what it is."""
    write("digits", 1, "pipeline.json", json.dumps(PIPELINE))
    write("argmax", 1, "transform.json", json.dumps(TRANSFORM))
    write("names", 1, "vocabulary.txt", "zero\none\ntwo\n")
    assert core.wait_until_available(LIMIT_SECONDS)
    assert names(core) == [b"one", b"two"]

    write("names", 2, "vocabulary.txt", "null\neins\nzwei\n")
    second = ServableRequest.specific("names", 2)
    reached, _ = core.monitor.wait_until_servables_reach_state(
        [second], ManagerState.AVAILABLE, LIMIT_SECONDS
    )

    assert reached
    assert names(core) == [b"eins", b"zwei"]


def test_a_held_pipeline_keeps_its_steps_and_takes_others_on_request(
    core: ServerCore, write: Write
) -> None:
    """Whatever becomes available meanwhile; `latest` says which versions of steps it has."""
    write("digits", 1, "pipeline.json", json.dumps(PIPELINE))
    write("argmax", 1, "transform.json", json.dumps(TRANSFORM))
    write("names", 1, "vocabulary.txt", "zero\none\ntwo\n")
    assert core.wait_until_available(LIMIT_SECONDS)

    with core.get_servable_handle(ServableRequest.latest("digits")) as handle:
        pipeline = handle.servable
        assert isinstance(pipeline, PipelineServable)
        with pipeline.hold() as (held, latest):
            write("names", 2, "vocabulary.txt", "null\neins\nzwei\n")
            second = ServableRequest.specific("names", 2)
            core.monitor.wait_until_servables_reach_state(
                [second], ManagerState.AVAILABLE, LIMIT_SECONDS
            )
            before = held.predict(SCORES)["name"].tolist()
            with pipeline.hold() as (now, newer):
                after = now.predict(SCORES)["name"].tolist()
            with pipeline.hold({"names": 1}) as (older, _):
                again = older.predict(SCORES)["name"].tolist()
            assert list(held.signatures["serving_default"].inputs) == ["scores"]
        with pytest.raises(UnavailableError), pipeline.hold({"names": 7}):
            pass

    assert (latest, newer) == ({"argmax": 1, "names": 1}, {"argmax": 1, "names": 2})
    assert (before, after, again) == ([b"one", b"two"], [b"eins", b"zwei"], [b"one", b"two"])
