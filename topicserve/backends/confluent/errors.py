"""confluent-kafka's errors in the port's words.

Fatal, retriable and abortable are librdkafka's own flags; the rest goes by its error codes.
"""

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

# What librdkafka itself finds wrong, by its negative codes.
CLIENTS_OWN: dict[int, type[BackendError]] = {
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
    # Wrong order of calls: a fault of ours, which no retry corrects.
    KafkaError._STATE: BackendError,
    KafkaError._CONFLICT: BackendError,
    KafkaError._EXISTING_SUBSCRIPTION: BackendError,
    KafkaError._NOT_CONFIGURED: BackendError,
}
# What passes, and is for trying again: the broker is away, late, or asked elsewhere meanwhile; the
# client is busy, out of memory, or was told to give up. `corrupt` looks at _BAD_MSG before, and
# `fatal()` and `txn_requires_abort()` say more than any of these.
PASSING = frozenset(
    {KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._ALL_BROKERS_DOWN}
    | {KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._ISR_INSUFF}
    | {KafkaError._WAIT_COORD, KafkaError._WAIT_CACHE, KafkaError._NODE_UPDATE}
    | {KafkaError._IN_PROGRESS, KafkaError._PREV_IN_PROGRESS, KafkaError._RETRY}
    | {KafkaError._CRIT_SYS_RESOURCE, KafkaError._QUEUE_FULL, KafkaError._INTR}
    | {KafkaError._BAD_MSG, KafkaError._PARTIAL, KafkaError._UNDERFLOW, KafkaError._FAIL}
    | {KafkaError._UNKNOWN_GROUP, KafkaError._UNKNOWN_BROKER, KafkaError._DESTROY_BROKER}
    | {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._DESTROY}
    | {KafkaError._OUTDATED, KafkaError._NO_OFFSET, KafkaError._GAPLESS_GUARANTEE}
    | {KafkaError._MAX_POLL_EXCEEDED, KafkaError._INCONSISTENT, KafkaError._FATAL}
    # Events rather than errors, and calls that are not made here.
    | {PARTITION_EOF, KafkaError._NOOP, KafkaError._APPLICATION, KafkaError._READ_ONLY}
    | {KafkaError._ASSIGN_PARTITIONS, KafkaError._REVOKE_PARTITIONS, KafkaError._NOENT}
    | {KafkaError._KEY_SERIALIZATION, KafkaError._VALUE_SERIALIZATION, KafkaError._FS}
    | {KafkaError._KEY_DESERIALIZATION, KafkaError._VALUE_DESERIALIZATION}
    | {KafkaError._INVALID_TYPE, KafkaError._INVALID_DIFFERENT_RECORD, KafkaError.UNKNOWN}
)


def class_of(code: int) -> type[BackendError]:
    """Return the port's class for a code, a broker's or librdkafka's own."""
    if code >= 0:
        return class_of_code(code)
    return CLIENTS_OWN.get(code, BackendUnavailableError)


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
