"""The kind `tf_serving`: models that a remote TF Serving serves, over gRPC.

All servables of equal options share one connection, made by the first load and closed by the last
unload.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from topicserve.servables.core.concurrency.shared_state import SharedState
from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.json_file import read_json_file
from topicserve.servables.kinds.options import read_options
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
    connection = SharedState(lambda: _open(settings), lambda channel: channel.close())
    return SimpleLoaderSourceAdapter(lambda path: _load(path, settings, connection))


def _load(
    path: StoragePath, options: TfServingOptions, connection: SharedState["PredictionChannel"]
) -> RemoteModel:
    model = read_json_file(path, options.file, RemoteModelJson)
    channel = connection.acquire()
    try:
        signatures = read_signatures(channel, model, options)
    except BaseException:
        connection.release()
        raise
    return RemoteModel(channel, model, signatures, connection.release)


def _open(options: TfServingOptions) -> "PredictionChannel":
    try:
        from topicserve.servables.kinds.tf_serving.channel import PredictionChannel
    except ImportError as error:
        raise FailedPreconditionError(
            f"gRPC cannot be imported ({error}); install topicserve[tf-serving]"
        ) from error
    return PredictionChannel(options)
