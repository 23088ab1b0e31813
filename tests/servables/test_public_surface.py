"""`topicserve.servables` is flat and frozen: a change of its names is made on purpose."""

import subprocess
import sys

from topicserve import servables

FROZEN = [
    "AlreadyExistsError",
    "AspiredServableStateSnapshot",
    "AspiredVersionPolicy",
    "AspiredVersionsManager",
    "AspiredVersionsManagerBuilder",
    "BasicManagerOptions",
    "CachingManager",
    "CancelledError",
    "Columns",
    "DataLossError",
    "DeadlineExceededError",
    "DynamicSourceRouter",
    "EventBus",
    "FailedPreconditionError",
    "FeatureSpec",
    "FileSystemStoragePathSource",
    "FileSystemStoragePathSourceConfig",
    "GuardLimits",
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


def test_importing_it_loads_no_framework_and_no_client() -> None:
    """A worker that serves tables alone pays for tables alone."""
    code = "import topicserve.servables, sys; print(*{m.partition('.')[0] for m in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )

    assert not {"tensorflow", "kafka", "confluent_kafka", "redis", "grpc"} & set(run.stdout.split())
