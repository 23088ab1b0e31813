"""kafka-python's errors in the port's words."""

from collections.abc import Iterator
from contextlib import contextmanager

from kafka import errors

from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
    RecordRefusedError,
    TransactionAbortedError,
)
from topicserve.backends.kafka_errors import class_of_code

# What the client itself finds wrong, without an answer of a broker; the most telling class first.
_CLIENTS_OWN: tuple[tuple[type[Exception], type[BackendError]], ...] = (
    (errors.CommitFailedError, CommitRefusedError),
    (errors.TransactionAbortedError, TransactionAbortedError),
    (errors.AuthorizationError, AuthenticationError),
    (errors.UnsupportedCodecError, BackendConfigError),
    (errors.KafkaConfigurationError, BackendConfigError),
    (errors.IllegalArgumentError, BackendConfigError),
    (errors.UnrecognizedBrokerVersion, BackendConfigError),
    (errors.NoOffsetForPartitionError, BackendConfigError),
    (errors.LogTruncationError, BackendConfigError),
    # Wrong order of calls: a fault of ours, which no retry corrects.
    (errors.IllegalStateError, BackendError),
    (errors.KafkaError, BackendUnavailableError),
    (OSError, BackendUnavailableError),
    (ValueError, BackendConfigError),
    (TypeError, BackendConfigError),
)


def translate(error: Exception) -> BackendError:
    """Return the port's error for one of kafka-python's (or of the sockets under it)."""
    if isinstance(error, BackendError):
        return error
    text = str(error) or type(error).__name__
    # The classes of authorization and of versions are also bases without a code.
    if isinstance(error, errors.BrokerResponseError) and error.errno is not None:
        return class_of_code(error.errno)(f"Kafka: {text}")
    if isinstance(error, RuntimeError) and "Libraries for" in text:
        return BackendConfigError(f"kafka-python: {text}: install topicserve[codecs]")
    for theirs, ours in _CLIENTS_OWN:
        if isinstance(error, theirs):
            return ours(f"kafka-python: {text}")
    return BackendError(f"kafka-python: {type(error).__name__}: {text}")


def refusal(error: Exception) -> BackendError:
    """Return why kafka-python did not take one record that it was given to send."""
    text = f"kafka-python: {type(error).__name__}: {error}"
    if isinstance(error, BufferError | MemoryError | OSError):
        return BackendUnavailableError(text)
    if isinstance(error, RuntimeError):
        return translate(error)
    return RecordRefusedError(text)


@contextmanager
def translated(*but: type[Exception]) -> Iterator[None]:
    """Raise the port's errors for kafka-python's, but for those that the caller looks for."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (BackendError, *but)):
            raise
        raise translate(error) from error
