"""The kind `tf_serving`: models that a remote TF Serving serves, over gRPC.

All servables of equal options share one connection, made by the first load and closed by the last
unload.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from topicserve.servables.core.loader import Loader
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.json_file import read_json_file
from topicserve.servables.kinds.options import read_options
from topicserve.servables.kinds.remote.adapter import make_remote_adapter
from topicserve.servables.kinds.tf_serving.options import TfServingOptions
from topicserve.servables.kinds.tf_serving.remote_model import (
    RemoteModel,
    RemoteModelJson,
    read_signatures,
)

if TYPE_CHECKING:
    from topicserve.servables.kinds.registry import KindContext
    from topicserve.servables.kinds.tf_serving.channel import PredictionChannel


def make_adapter(
    options: Mapping[str, object],
    context: "KindContext",  # noqa: ARG001 - what every kind is given
) -> SourceAdapter[StoragePath, Loader]:
    """Return what makes loaders of remote models; InvalidArgumentError for bad options."""
    settings = read_options(TfServingOptions, options, "tf_serving")

    def load(
        path: StoragePath, channel: "PredictionChannel", on_close: Callable[[], None]
    ) -> RemoteModel:
        model = read_json_file(path, settings.file, RemoteModelJson)
        signatures = read_signatures(channel, model, settings)
        return RemoteModel(channel, model, signatures, settings.timeout_seconds, on_close)

    return make_remote_adapter(lambda: _open(settings), load, "tf-serving")


def _open(options: TfServingOptions) -> "PredictionChannel":
    from topicserve.servables.kinds.tf_serving.channel import PredictionChannel

    return PredictionChannel(options)
