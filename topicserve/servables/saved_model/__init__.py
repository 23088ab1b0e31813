"""The kind `saved_model`: any SavedModel that TF Serving opens.

TensorFlow is imported by the first load, not by asking for the kind.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from topicserve.servables.directory_size import directory_bytes
from topicserve.servables.errors import FailedPreconditionError
from topicserve.servables.kind_options import read_options
from topicserve.servables.loader import Loader
from topicserve.servables.resource_allocation import ResourceAllocation, main_ram
from topicserve.servables.saved_model.op_libraries import (
    check_op_libraries,
    import_op_libraries,
)
from topicserve.servables.saved_model.options import (
    SavedModelOptions,
    give_sessions_their_own_threads,
)
from topicserve.servables.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.source_adapter import SourceAdapter
from topicserve.servables.storage_path import StoragePath

if TYPE_CHECKING:
    from topicserve.servables.kinds import KindContext
    from topicserve.servables.saved_model.saved_model import SavedModel

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
    return SimpleLoaderSourceAdapter(lambda path: _load(path, settings), estimate_resources)


def estimate_resources(path: StoragePath) -> ResourceAllocation:
    """Return the main memory that a SavedModel is expected to take."""
    return main_ram(int(RAM_PER_BYTE_ON_DISK * directory_bytes(path)))


def _load(path: StoragePath, options: SavedModelOptions) -> "SavedModel":
    try:
        from topicserve.servables.saved_model.saved_model import SavedModel
    except ImportError as error:
        raise FailedPreconditionError(
            f"TensorFlow cannot be imported ({error}); install topicserve[worker]"
        ) from error
    import_op_libraries(options.op_libraries, path)
    return SavedModel.load(path, options)
