"""The connection to a TF Serving."""

import time
from collections.abc import Callable

from topicserve.protos.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from topicserve.protos.predict_pb2 import PredictRequest, PredictResponse
from topicserve.servables.kinds.remote.channel import RemoteChannel
from topicserve.servables.kinds.tf_serving.options import TfServingOptions

_SERVICE = "/tensorflow.serving.PredictionService"


class PredictionChannel:
    """Calls TF Serving's PredictionService, as RemoteChannel says."""

    def __init__(
        self,
        options: TfServingOptions,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        channel = RemoteChannel(options, "TF Serving", clock, pause)
        self.close = channel.close
        self.predict = channel.method(f"{_SERVICE}/Predict", PredictRequest, PredictResponse)
        self.get_model_metadata = channel.method(
            f"{_SERVICE}/GetModelMetadata", GetModelMetadataRequest, GetModelMetadataResponse
        )
