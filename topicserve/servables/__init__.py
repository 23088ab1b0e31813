"""TensorFlow Serving's servable lifecycle in Python, with its names and its meanings.

Everything that a program or a kind of its own needs stands here, flat; the modules below it are
private. Importing it loads neither TensorFlow nor a client library: a kind imports what it needs
when it loads its first version.
"""

from topicserve.servables.core.concurrency.event_bus import (
    EventBus,
)
from topicserve.servables.core.concurrency.retry import (
    RetryPolicy,
)
from topicserve.servables.core.concurrency.shared_state import (
    SharedState,
)
from topicserve.servables.core.errors import (
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    RowCountError,
    ServableError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
)
from topicserve.servables.core.loader import (
    Loader,
)
from topicserve.servables.core.manager import (
    Manager,
)
from topicserve.servables.core.managers.aspired_versions_manager import (
    AspiredVersionsManager,
)
from topicserve.servables.core.managers.aspired_versions_manager_builder import (
    AspiredVersionsManagerBuilder,
)
from topicserve.servables.core.managers.basic_manager import (
    BasicManagerOptions,
)
from topicserve.servables.core.managers.caching_manager import (
    CachingManager,
    PathPrefixLoaderFactory,
)
from topicserve.servables.core.managers.loader_harness import (
    HarnessState,
)
from topicserve.servables.core.managers.servable_data import (
    ServableData,
)
from topicserve.servables.core.managers.static_manager import (
    StaticManagerBuilder,
)
from topicserve.servables.core.policies.aspired_version_policy import (
    Action,
    AspiredServableStateSnapshot,
    AspiredVersionPolicy,
    ServableAction,
)
from topicserve.servables.core.policies.availability_preserving_policy import (
    availability_preserving_policy,
)
from topicserve.servables.core.policies.resource_preserving_policy import (
    resource_preserving_policy,
)
from topicserve.servables.core.resources.admission import (
    OnInsufficientResources,
)
from topicserve.servables.core.resources.resource_allocation import (
    Resource,
    main_ram,
)
from topicserve.servables.core.resources.resource_tracker import (
    ResourceTracker,
)
from topicserve.servables.core.servable_handle import (
    ServableHandle,
)
from topicserve.servables.core.servable_id import (
    ServableId,
)
from topicserve.servables.core.servable_request import (
    ServableRequest,
)
from topicserve.servables.core.servable_state import (
    ManagerState,
    ServableState,
)
from topicserve.servables.core.servable_state_monitor import (
    ServableStateMonitor,
)
from topicserve.servables.core.simple_loader import (
    SimpleLoader,
    SimpleLoaderSourceAdapter,
)
from topicserve.servables.core.source import (
    Source,
    connect_source_to_target,
)
from topicserve.servables.core.source_adapter import (
    SourceAdapter,
    UnarySourceAdapter,
)
from topicserve.servables.core.source_router import (
    DynamicSourceRouter,
    StaticSourceRouter,
)
from topicserve.servables.core.target import (
    Target,
    TargetBase,
)
from topicserve.servables.kinds.json_file import (
    read_json_file,
)
from topicserve.servables.kinds.options import (
    KindOptions,
    read_options,
)
from topicserve.servables.kinds.predict_checks import (
    check_rows,
)
from topicserve.servables.kinds.registry import (
    KindContext,
    known_kinds,
)
from topicserve.servables.kinds.servable import (
    Columns,
    CostlyServable,
    FeatureSpec,
    Scope,
    SelectiveServable,
    Servable,
    Signature,
    TensorSpec,
)
from topicserve.servables.server.servable_config import (
    ServableConfig,
    VersionPolicy,
    VersionPolicyKind,
)
from topicserve.servables.server.server_core import (
    ServerCore,
)
from topicserve.servables.server.server_core_options import (
    ServerCoreOptions,
)
from topicserve.servables.server.swap_guard import (
    GuardLimits,
    SwapGuard,
)
from topicserve.servables.sources.completeness import (
    CompletenessOptions,
)
from topicserve.servables.sources.directory_size import (
    directory_bytes,
)
from topicserve.servables.sources.file_system_storage_path_source import (
    FileSystemStoragePathSource,
    FileSystemStoragePathSourceConfig,
)
from topicserve.servables.sources.monitored_servable import (
    ServableToMonitor,
)
from topicserve.servables.sources.prefix_storage_path_source_adapter import (
    PrefixStoragePathSourceAdapter,
)
from topicserve.servables.sources.regular_files import (
    open_regular_file,
    read_regular_file,
)
from topicserve.servables.sources.static_storage_path_source import (
    StaticStoragePathSource,
)

__all__ = [
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
