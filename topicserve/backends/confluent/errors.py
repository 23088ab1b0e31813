"""confluent-kafka's errors in the port's words."""

# ruff: noqa: SLF001 - the underscore is librdkafka's mark for its own codes, all of them public

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
    DeliveryTimeoutError,
    FencedError,
    RecordRefusedError,
    TransactionAbortedError,
    UnknownTopicError,
)
from topicserve.backends.kafka_errors import class_of_code

PARTITION_EOF: int = KafkaError._PARTITION_EOF

# What librdkafka itself finds wrong, by its negative codes; all others pass (the broker is away,
# timed out, changed its mind), and are for trying again.
_CLIENTS_OWN: dict[int, type[BackendError]] = {
    KafkaError._AUTHENTICATION: AuthenticationError,
    KafkaError._SSL: AuthenticationError,
    KafkaError._UNKNOWN_TOPIC: UnknownTopicError,
    KafkaError._UNKNOWN_PARTITION: UnknownTopicError,
    KafkaError._MSG_TIMED_OUT: DeliveryTimeoutError,
    KafkaError._ASSIGNMENT_LOST: CommitRefusedError,
    KafkaError._FENCED: FencedError,
    KafkaError._INVALID_ARG: BackendConfigError,
    KafkaError._UNSUPPORTED_FEATURE: BackendConfigError,
    KafkaError._NOT_IMPLEMENTED: BackendConfigError,
    KafkaError._BAD_COMPRESSION: BackendConfigError,
    KafkaError._AUTO_OFFSET_RESET: BackendConfigError,
    KafkaError._LOG_TRUNCATION: BackendConfigError,
    KafkaError._UNKNOWN_PROTOCOL: BackendConfigError,
    # Wrong order of calls: a fault of ours, which no retry mends.
    KafkaError._STATE: BackendError,
    KafkaError._CONFLICT: BackendError,
    KafkaError._EXISTING_SUBSCRIPTION: BackendError,
    KafkaError._NOT_CONFIGURED: BackendError,
}


def class_of(code: int) -> type[BackendError]:
    """Return the port's class for a code, a broker's or librdkafka's own."""
    if code >= 0:
        return class_of_code(code)
    return _CLIENTS_OWN.get(code, BackendUnavailableError)


def translate(error: KafkaError) -> BackendError:
    """Return the port's error for one of librdkafka's."""
    kind = class_of(error.code())
    if error.code() == KafkaError._SSL and "Disconnected" in error.str():
        kind = BackendUnavailableError  # the broker went away while hands were shaken
    text = f"Kafka: {error.str()} ({error.name()})"
    if error.fatal() and kind not in (AuthenticationError, FencedError):
        return FencedError(f"the client cannot be used any more: {text}")
    if error.txn_requires_abort() and kind is not CommitRefusedError:
        return TransactionAbortedError(text)
    return kind(text)


def refusal(error: Exception) -> BackendError:
    """Return why confluent-kafka did not take one record that it was given to send."""
    text = f"confluent-kafka: {type(error).__name__}: {error}"
    if isinstance(error, BufferError | MemoryError | OSError):
        return BackendUnavailableError(text)
    return RecordRefusedError(text)


@contextmanager
def translated(*but: type[Exception]) -> Iterator[None]:
    """Raise the port's errors for confluent-kafka's, but for those that the caller looks at."""
    try:
        yield
    except but:
        raise
    except KafkaException as error:
        raise translate(error.args[0]) from error
    except (ValueError, TypeError) as error:
        raise BackendConfigError(f"confluent-kafka: {error}") from error
    except (BufferError, OSError) as error:
        raise BackendUnavailableError(f"confluent-kafka: {error}") from error
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(f"confluent-kafka: {type(error).__name__}: {error}") from error
