"""The connection to a TF Serving."""

import json
from collections.abc import Callable
from pathlib import Path

import grpc

from topicserve.protos.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from topicserve.protos.predict_pb2 import PredictRequest, PredictResponse
from topicserve.servables.errors import InvalidArgumentError, ServableError
from topicserve.servables.status_errors import error_of_status
from topicserve.servables.tf_serving.options import TfServingOptions, TlsOptions

SERVICE = "tensorflow.serving.PredictionService"

# Not the records' fault: the model may come back, and access may be granted.
_PASSING = {"NOT_FOUND", "CANCELLED", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"}


class PredictionChannel:
    """Calls TF Serving's PredictionService. Any number of threads may call it at once.

    Opening it connects to nothing yet, and a connection that breaks is made anew. Errors come as
    the ServableError of their status; what is not the records' fault is retriable.
    """

    def __init__(self, options: TfServingOptions) -> None:
        self._target = options.target
        self._timeout_seconds = options.timeout_seconds
        self._channel = _open(options)
        self._predict: Callable[..., PredictResponse] = self._channel.unary_unary(
            f"/{SERVICE}/Predict",
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )
        self._get_model_metadata: Callable[..., GetModelMetadataResponse] = (
            self._channel.unary_unary(
                f"/{SERVICE}/GetModelMetadata",
                request_serializer=GetModelMetadataRequest.SerializeToString,
                response_deserializer=GetModelMetadataResponse.FromString,
            )
        )

    def predict(self, request: PredictRequest) -> PredictResponse:
        """Return the answer, within the time that the options give."""
        try:
            return self._predict(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            raise self._translated(error) from error

    def get_model_metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        """Return what a model takes and gives, within the time that the options give."""
        try:
            return self._get_model_metadata(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._channel.close()

    def _translated(self, error: grpc.RpcError) -> ServableError:
        name = error.code().name
        message = f"TF Serving at {self._target}: {name}: {error.details()}"
        return error_of_status("UNAVAILABLE" if name in _PASSING else name, message)


def _open(options: TfServingOptions) -> grpc.Channel:
    settings = {
        # Batches are larger than gRPC's default of 4 MiB; TF Serving has no limit either.
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        "grpc.service_config": json.dumps(_service_config(options)),
        **options.channel_options,
    }
    if options.tls is None:
        return grpc.insecure_channel(options.target, list(settings.items()))
    credentials = _credentials(options.tls)
    return grpc.secure_channel(options.target, credentials, list(settings.items()))


def _service_config(options: TfServingOptions) -> object:
    """Return gRPC's description of retries: it makes them itself, within the call's deadline."""
    if options.max_attempts == 1:
        return {}
    policy = {
        "maxAttempts": options.max_attempts,
        "initialBackoff": f"{options.retry_backoff_seconds:.9f}s",
        "maxBackoff": f"{options.retry_backoff_seconds * 16:.9f}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {"methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": policy}]}


def _credentials(tls: TlsOptions) -> grpc.ChannelCredentials:
    files = (tls.root_certificates, tls.private_key, tls.certificate_chain)
    try:
        return grpc.ssl_channel_credentials(
            *(None if file is None else Path(file).read_bytes() for file in files)
        )
    except OSError as error:
        raise InvalidArgumentError(f"tls: {error}") from None
