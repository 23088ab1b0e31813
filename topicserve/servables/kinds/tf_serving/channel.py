"""The connection to a TF Serving."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from topicserve.backoff import Backoff
from topicserve.protos.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from topicserve.protos.predict_pb2 import PredictRequest, PredictResponse
from topicserve.redact import redact, redact_address, secrets_of
from topicserve.servables.core.errors import InvalidArgumentError, ServableError, UnavailableError
from topicserve.servables.kinds.status_errors import error_of_status
from topicserve.servables.kinds.tf_serving.options import TfServingOptions, TlsOptions
from topicserve.servables.sources.regular_files import read_regular_file

Answer = TypeVar("Answer")

SERVICE = "tensorflow.serving.PredictionService"

# Not the records' fault: the model may come back, and access may be granted.
# The deadline of the call ends its tries sooner.
_MAX_PAUSE_SECONDS = 60.0
_PASSING = {"NOT_FOUND", "CANCELLED", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"}

_MAX_PEM_BYTES = 1024 * 1024


class PredictionChannel:
    """Calls TF Serving's PredictionService. Any number of threads may call it at once.

    Opening it connects to nothing yet, and a connection that breaks is made again. Errors come as
    the ServableError of their status; what is not the records' fault is retriable.
    """

    def __init__(
        self,
        options: TfServingOptions,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._target = redact_address(options.target)
        self._secrets = secrets_of(options.target)
        self._timeout_seconds = options.timeout_seconds
        self._max_attempts = options.max_attempts
        self._backoff = Backoff(options.retry_backoff_seconds, _MAX_PAUSE_SECONDS, jitter=0.5)
        self._clock = clock
        self._is_closed = threading.Event()
        self._pause = pause or self._is_closed.wait
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
        return self._call(lambda seconds: self._predict(request, timeout=seconds))

    def get_model_metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        """Return what a model takes and gives, within the time that the options give."""
        return self._call(lambda seconds: self._get_model_metadata(request, timeout=seconds))

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        self._is_closed.set()
        self._channel.close()

    def _call(self, call: Callable[[float], Answer]) -> Answer:
        """Try as often as the options and the time allow while the server is unavailable.

        Not by gRPC's own retries: a call whose pause ends too early for it hangs to its deadline
        (grpc/grpc#41036; with pauses of 1 ms every second call, in 1.85).
        """
        deadline = self._clock() + self._timeout_seconds
        attempt = 1
        while True:
            try:
                return call(max(deadline - self._clock(), 0.0))
            except grpc.RpcError as error:
                seconds = self._backoff.pause_seconds(attempt)
                is_away = error.code() is grpc.StatusCode.UNAVAILABLE
                is_time_up = self._clock() + seconds >= deadline
                if not is_away or is_time_up or attempt == self._max_attempts:
                    # Without the cause where a secret is in it: a traceback would print it.
                    cause = None if self._secrets else error
                    raise self._translated(error) from cause
            self._pause(seconds)
            if self._is_closed.is_set():
                raise UnavailableError(f"the connection to TF Serving at {self._target} is closed")
            attempt += 1

    def _translated(self, error: grpc.RpcError) -> ServableError:
        name = error.code().name
        details = redact(str(error.details()), self._secrets)
        message = f"TF Serving at {self._target}: {name}: {details}"
        return error_of_status("UNAVAILABLE" if name in _PASSING else name, message)


def _open(options: TfServingOptions) -> grpc.Channel:
    settings = {
        # Batches are larger than gRPC's default of 4 MiB; TF Serving has no limit either.
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        "grpc.enable_retries": 0,
        **options.channel_options,
    }
    if options.tls is None:
        return grpc.insecure_channel(options.target, list(settings.items()))
    credentials = _credentials(options.tls)
    return grpc.secure_channel(options.target, credentials, list(settings.items()))


def _credentials(tls: TlsOptions) -> grpc.ChannelCredentials:
    files = (tls.root_certificates, tls.private_key, tls.certificate_chain)
    try:
        return grpc.ssl_channel_credentials(
            *(None if file is None else read_regular_file(file, _MAX_PEM_BYTES) for file in files)
        )
    except ServableError as error:
        raise InvalidArgumentError(f"tls: {error}") from None
