"""The connection to a remote server of models, over gRPC."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

# By default it writes a line of its own to stderr for each connection that a server ends, between
# the lines of the worker's log; what matters comes as an error of the call. Read by the import.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from topicserve.backoff import Backoff
from topicserve.redact import redact, redact_address, secrets_of
from topicserve.servables.core.errors import InvalidArgumentError, ServableError, UnavailableError
from topicserve.servables.kinds.remote.hang_pause import HangPause
from topicserve.servables.kinds.remote.options import RemoteOptions, TlsOptions
from topicserve.servables.kinds.status_errors import error_of_status
from topicserve.servables.sources.regular_files import read_regular_file

# Not the records' fault: the model may come back, and access may be granted.
# The deadline of the call ends its tries sooner.
_MAX_PAUSE_SECONDS = 60.0
_PASSING = {"NOT_FOUND", "CANCELLED", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"}

_MAX_PEM_BYTES = 1024 * 1024


class Message(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return its bytes."""

    @classmethod
    def FromString(cls, s: bytes, /) -> Self:  # noqa: N802 - protobuf's name
        """Return the message of these bytes."""


RequestT = TypeVar("RequestT", bound=Message)
AnswerT = TypeVar("AnswerT", bound=Message)


class RemoteChannel:
    """Calls a server's methods. Any number of threads may call it at once.

    Opening it connects to nothing yet, and a connection that breaks is made again. Errors come as
    the ServableError of their status; what is not the records' fault is retriable. `server` is what
    they call the server: "TF Serving".
    """

    def __init__(
        self,
        options: RemoteOptions,
        server: str,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._server = f"{server} at {redact_address(options.target)}"
        self._secrets = secrets_of(options.target)
        self._timeout_seconds = options.timeout_seconds
        self._max_attempts = options.max_attempts
        self._backoff = Backoff(options.retry_backoff_seconds, _MAX_PAUSE_SECONDS, jitter=0.5)
        self._clock = clock
        self._hang_pause = HangPause(clock, options.timeout_seconds)
        self._is_closed = threading.Event()
        self._pause = pause or self._is_closed.wait
        self._channel = _open(options)

    def method(
        self, path: str, request: type[RequestT], answer: type[AnswerT]
    ) -> Callable[[RequestT], AnswerT]:
        """Return what calls a method, such as "/package.Service/Method"."""
        call = self._channel.unary_unary(
            path,
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        return lambda message: self._call(call, message)

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled, and later ones fail likewise."""
        self._is_closed.set()
        self._channel.close()

    def _call(self, call: Callable[..., AnswerT], message: Any) -> AnswerT:
        """Try as often as the options and the time allow while the server is unavailable.

        Not by gRPC's own retries: a call whose pause ends too early for it hangs to its deadline
        (grpc/grpc#41036; with pauses of 1 ms every second call, in 1.85).
        """
        if self._is_closed.is_set():
            raise self._closed()
        self._hang_pause.admit()
        started = self._clock()
        deadline = started + self._timeout_seconds
        attempt = 1
        while True:
            if self._is_closed.is_set():
                raise self._closed()
            try:
                answer = call(message, timeout=max(deadline - self._clock(), 0.0))
            except ValueError as error:  # gRPC's word for a channel that was closed meanwhile
                if self._is_closed.is_set():
                    raise self._closed() from error
                raise
            except grpc.RpcError as error:
                seconds = self._backoff.pause_seconds(attempt)
                is_away = error.code() is grpc.StatusCode.UNAVAILABLE
                is_time_up = self._clock() + seconds >= deadline
                if not is_away or is_time_up or attempt == self._max_attempts:
                    translated = self._translated(error)
                    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                        self._hang_pause.note_hang(self._clock() - started, translated)
                    else:
                        self._hang_pause.end()
                    # Without the cause where a secret is in it: a traceback would print it.
                    raise translated from (None if self._secrets else error)
            else:
                self._hang_pause.end()
                return answer
            self._pause(seconds)
            attempt += 1

    def _closed(self) -> UnavailableError:
        return UnavailableError(f"the connection to {self._server} is closed")

    def _translated(self, error: grpc.RpcError) -> ServableError:
        name = error.code().name
        details = redact(str(error.details()), self._secrets)
        message = f"{self._server}: {name}: {details}"
        return error_of_status("UNAVAILABLE" if name in _PASSING else name, message)


def _open(options: RemoteOptions) -> grpc.Channel:
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
