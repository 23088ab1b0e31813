"""The kind `onnx`: ONNX models in ONNX Runtime.

ONNX Runtime is imported by the first load, not by asking for the kind; TensorFlow never.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation, main_ram
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.onnx.options import OnnxOptions
from topicserve.servables.kinds.options import read_options
from topicserve.servables.sources.directory_size import directory_bytes

if TYPE_CHECKING:
    from topicserve.servables.kinds.onnx.onnx_model import OnnxModel
    from topicserve.servables.kinds.registry import KindContext

# While it loads, ONNX Runtime holds the file's weights and those that it has laid out for itself.
RAM_PER_BYTE_ON_DISK = 2


def make_adapter(
    options: Mapping[str, object],
    context: "KindContext",  # noqa: ARG001 - what every kind is given
) -> SourceAdapter[StoragePath, Loader]:
    """Return what turns paths into loaders of ONNX models; InvalidArgumentError for bad options."""
    settings = read_options(OnnxOptions, options, "onnx")
    return SimpleLoaderSourceAdapter(lambda path: _load(path, settings), estimate_resources)


def estimate_resources(path: StoragePath) -> ResourceAllocation:
    """Return the main memory that a model is expected to take."""
    return main_ram(RAM_PER_BYTE_ON_DISK * directory_bytes(path))


def _load(path: StoragePath, options: OnnxOptions) -> "OnnxModel":
    try:
        from topicserve.servables.kinds.onnx.onnx_model import OnnxModel
    except ImportError as error:
        raise FailedPreconditionError(
            f"ONNX Runtime cannot be imported ({error}); install topicserve[onnx]"
        ) from error
    return OnnxModel.load(path, options)
