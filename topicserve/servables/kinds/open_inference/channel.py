"""The connection to a server of the Open Inference Protocol."""

import time
from collections.abc import Callable

from topicserve.protos import open_inference_pb2 as pb
from topicserve.servables.kinds.open_inference.options import OpenInferenceOptions
from topicserve.servables.kinds.remote.channel import RemoteChannel

_SERVICE = "/inference.GRPCInferenceService"


class InferenceChannel:
    """Calls the protocol's GRPCInferenceService, as RemoteChannel says."""

    def __init__(
        self,
        options: OpenInferenceOptions,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        channel = RemoteChannel(options, "the inference server", clock, pause)
        self.close = channel.close
        self.server_ready = channel.method(
            f"{_SERVICE}/ServerReady", pb.ServerReadyRequest, pb.ServerReadyResponse
        )
        self.model_ready = channel.method(
            f"{_SERVICE}/ModelReady", pb.ModelReadyRequest, pb.ModelReadyResponse
        )
        self.model_metadata = channel.method(
            f"{_SERVICE}/ModelMetadata", pb.ModelMetadataRequest, pb.ModelMetadataResponse
        )
        self.model_infer = channel.method(
            f"{_SERVICE}/ModelInfer", pb.ModelInferRequest, pb.ModelInferResponse
        )
