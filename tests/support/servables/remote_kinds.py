"""Models of kinds that a remote server serves, loaded as a worker loads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.servables.kind_context import ServablesInMemory
from tests.support.stages.records import ManualClock
from topicserve.servables.core.errors import ServableError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.registry import load_kind

LATEST = {"model_name": "half_plus_two"}
CLOSED_PORT = "127.0.0.1:1"


def remote_loaders(kind: str, directory: Path, *files: Any, **options: Any) -> list[Loader]:
    """Return the loaders of one adapter, one for each version file."""
    adapter = load_kind(kind)(options, ServablesInMemory())
    made = []
    for version, content in enumerate(files, start=1):
        path = directory / str(version)
        path.mkdir(parents=True)
        (path / f"{kind}.json").write_text(json.dumps(content))
        data = ServableData(ServableId("remote", version), StoragePath(str(path)))
        made.append(adapter.adapt_one_version(data).payload)
    return made


def load_remote(kind: str, directory: Path, content: Any = LATEST, **options: Any) -> Any:
    """Return the loaded servable of one version file."""
    (loader,) = remote_loaders(kind, directory, content, **options)
    loader.load_with_id(ServableId("remote", 1))
    return loader.servable


def until_given_up(predict: Callable[[], object], clock: ManualClock) -> ServableError:
    """Return the error that is no longer retriable, after calls a second apart."""
    for _ in range(30):
        try:
            predict()
        except ServableError as error:
            if not error.retriable:
                return error
        clock.advance(1)
    raise TimeoutError
