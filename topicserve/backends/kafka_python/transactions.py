"""What a failed transactional call of kafka-python asks for: abort, stop, or try again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import errors

from topicserve.backends.errors import (
    AuthenticationError,
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
    FencedError,
    RecordRefusedError,
    TransactionAbortedError,
)
from topicserve.backends.kafka_python.errors import translate


@contextmanager
def transactional(client: Any) -> Iterator[None]:
    """Raise the port's errors for what a transactional call on a KafkaProducer raises."""
    try:
        yield
    except (errors.KafkaError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise translate_transactional(client, error) from error


def translate_transactional(client: Any, error: Exception) -> BackendError:
    """Return the port's error, by the state that the client's transaction is in.

    After the first failure all that the client says is that there was one; its transaction manager
    knows which, and whether aborting is enough.
    """
    manager = client._transaction_manager  # noqa: SLF001 - see above
    if manager is None or not manager.has_error():
        return translate(error)
    cause = translate(manager.last_error or error)
    if manager.has_fatal_error():
        if isinstance(cause, AuthenticationError | FencedError):
            return cause
        if isinstance(cause, RecordRefusedError):
            # An idempotent client's end, which is replaced: nothing is wrong with this record.
            return BackendUnavailableError(f"kafka-python sends nothing more after: {cause}")
        return FencedError(f"the transactional id cannot be used any more: {cause}")
    if isinstance(cause, CommitRefusedError):
        return cause
    return TransactionAbortedError(str(cause))
