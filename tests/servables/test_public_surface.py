"""`topicserve.servables` is flat and frozen: a change of its names is made on purpose."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

import pytest

from topicserve import servables

FROZEN = [
    "Action",
    "AlreadyExistsError",
    "AspiredServableStateSnapshot",
    "AspiredVersionPolicy",
    "AspiredVersionsManager",
    "AspiredVersionsManagerBuilder",
    "BasicManagerOptions",
    "CachingManager",
    "CancelledError",
    "Columns",
    "CompletenessOptions",
    "CostlyServable",
    "DataLossError",
    "DeadlineExceededError",
    "DynamicSourceRouter",
    "EventBus",
    "FailedPreconditionError",
    "FeatureSpec",
    "FileSystemStoragePathSource",
    "FileSystemStoragePathSourceConfig",
    "GuardLimits",
    "HarnessState",
    "InternalError",
    "InvalidArgumentError",
    "KindContext",
    "KindOptions",
    "Loader",
    "Manager",
    "ManagerState",
    "NotFoundError",
    "OnInsufficientResources",
    "PathPrefixLoaderFactory",
    "PrefixStoragePathSourceAdapter",
    "Resource",
    "ResourceExhaustedError",
    "ResourceTracker",
    "RetryPolicy",
    "RowCountError",
    "Scope",
    "SelectiveServable",
    "Servable",
    "ServableAction",
    "ServableConfig",
    "ServableData",
    "ServableError",
    "ServableHandle",
    "ServableId",
    "ServableRequest",
    "ServableState",
    "ServableStateMonitor",
    "ServableToMonitor",
    "ServerCore",
    "ServerCoreOptions",
    "SharedState",
    "Signature",
    "SimpleLoader",
    "SimpleLoaderSourceAdapter",
    "Source",
    "SourceAdapter",
    "StaticManagerBuilder",
    "StaticSourceRouter",
    "StaticStoragePathSource",
    "SwapGuard",
    "Target",
    "TargetBase",
    "TensorSpec",
    "UnarySourceAdapter",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "VersionPolicy",
    "VersionPolicyKind",
    "availability_preserving_policy",
    "check_rows",
    "connect_source_to_target",
    "directory_bytes",
    "known_kinds",
    "main_ram",
    "open_regular_file",
    "read_json_file",
    "read_options",
    "read_regular_file",
    "resource_preserving_policy",
]


def test_the_public_names_are_frozen() -> None:
    """A name that is added or taken away is added or taken away here, and in the changelog."""
    assert servables.__all__ == FROZEN
    assert all(hasattr(servables, name) for name in FROZEN)


def parts_of(annotation: Any) -> Iterator[Any]:
    """Yield what a type consists of."""
    yield annotation
    for part in get_args(annotation):
        yield from parts_of(part)


@pytest.mark.parametrize("name", FROZEN)
def test_what_public_fields_hold_is_public(name: str) -> None:
    """So that options can be made with public names alone; of a protocol, anyone has their own."""
    public = getattr(servables, name)
    types = get_type_hints(public) if is_dataclass(public) else {}
    own = {
        part
        for annotation in types.values()
        for part in parts_of(annotation)
        if isinstance(part, type) and part.__module__.startswith("topicserve.")
    }

    assert {one.__name__ for one in own if not getattr(one, "_is_protocol", False)} <= set(FROZEN)


def test_importing_it_loads_no_framework_and_no_client() -> None:
    """A worker that serves tables alone pays for tables alone."""
    code = "import topicserve.servables, sys; print(*{m.partition('.')[0] for m in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )

    assert not {"tensorflow", "kafka", "confluent_kafka", "redis", "grpc"} & set(run.stdout.split())
