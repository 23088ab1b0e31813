"""The kind `open_inference`: models that a server of the Open Inference Protocol serves, over gRPC.

Such as Triton, KServe, MLServer and OpenVINO Model Server. All servables of equal options share one
connection, made by the first load and closed by the last unload.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from topicserve.servables.core.loader import Loader
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.json_file import read_json_file
from topicserve.servables.kinds.open_inference.current_signature import CurrentSignature
from topicserve.servables.kinds.open_inference.model_file import OpenInferenceJson
from topicserve.servables.kinds.open_inference.options import OpenInferenceOptions
from topicserve.servables.kinds.open_inference.remote_model import OpenInferenceModel
from topicserve.servables.kinds.options import read_options
from topicserve.servables.kinds.remote.adapter import make_remote_adapter

if TYPE_CHECKING:
    from topicserve.servables.kinds.open_inference.channel import InferenceChannel
    from topicserve.servables.kinds.registry import KindContext


def make_adapter(
    options: Mapping[str, object],
    context: "KindContext",  # noqa: ARG001 - what every kind is given
) -> SourceAdapter[StoragePath, Loader]:
    """Return what makes loaders of remote models; InvalidArgumentError for bad options."""
    settings = read_options(OpenInferenceOptions, options, "open_inference")

    def load(
        path: StoragePath, channel: "InferenceChannel", on_close: Callable[[], None]
    ) -> OpenInferenceModel:
        model = read_json_file(path, settings.file, OpenInferenceJson)
        current = CurrentSignature(channel, model, settings)
        current.watch()
        return OpenInferenceModel(channel, model, settings, current, on_close)

    return make_remote_adapter(lambda: _open(settings), load, "open-inference")


def _open(options: OpenInferenceOptions) -> "InferenceChannel":
    from topicserve.servables.kinds.open_inference.channel import InferenceChannel

    return InferenceChannel(options)
