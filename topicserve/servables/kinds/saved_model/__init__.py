"""The kind `saved_model`: any SavedModel that TF Serving opens.

TensorFlow is imported by the first load, not by asking for the kind.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation, main_ram
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.options import read_options
from topicserve.servables.kinds.saved_model.op_libraries import (
    check_op_libraries,
    import_op_libraries,
)
from topicserve.servables.kinds.saved_model.options import (
    SavedModelOptions,
    give_sessions_their_own_threads,
    let_gpu_memory_grow,
)
from topicserve.servables.sources.directory_size import directory_bytes

if TYPE_CHECKING:
    from topicserve.servables.kinds.registry import KindContext
    from topicserve.servables.kinds.saved_model.saved_model import SavedModel

# What a loaded model takes beyond its files, by TF Serving's experience.
RAM_PER_BYTE_ON_DISK = 1.2


def make_adapter(
    options: Mapping[str, object],
    context: "KindContext",  # noqa: ARG001 - what every kind is given
) -> SourceAdapter[StoragePath, Loader]:
    """Return what turns paths into loaders of SavedModels; InvalidArgumentError for bad options."""
    settings = read_options(SavedModelOptions, options, "saved_model")
    check_op_libraries(settings.op_libraries)
    if settings.session_threads is not None:
        give_sessions_their_own_threads()
    if settings.gpu_memory_growth:
        let_gpu_memory_grow()
    return SimpleLoaderSourceAdapter(lambda path: _load(path, settings), estimate_resources)


def estimate_resources(path: StoragePath) -> ResourceAllocation:
    """Return the main memory that a SavedModel is expected to take."""
    return main_ram(int(RAM_PER_BYTE_ON_DISK * directory_bytes(path)))


def _load(path: StoragePath, options: SavedModelOptions) -> "SavedModel":
    try:
        from topicserve.servables.kinds.saved_model.saved_model import SavedModel
    except ImportError as error:
        raise FailedPreconditionError(
            f"TensorFlow cannot be imported ({error}); install topicserve[worker]"
        ) from error
    import_op_libraries(options.op_libraries, path)
    return SavedModel.load(path, options)
