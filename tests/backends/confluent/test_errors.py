import pytest
from confluent_kafka import KafkaError, KafkaException

from topicserve.backends import errors as ours
from topicserve.backends.confluent.errors import (
    CLIENTS_OWN,
    PASSING,
    class_of,
    translate,
    translated,
)
from topicserve.backends.kafka_errors import CLASSIFIED, NOT_ASKED_FOR, class_of_code

# A wrong order of calls, a fault of the adapter's own.
NO_CLASS_OF_THEIR_OWN = {
    KafkaError._STATE,
    KafkaError._CONFLICT,
    KafkaError._EXISTING_SUBSCRIPTION,
    KafkaError._NOT_CONFIGURED,
}


def every_code() -> dict[str, int]:
    """Return all of librdkafka's error codes by name."""
    return {
        name: value
        for name, value in vars(KafkaError).items()
        if name.isupper() and isinstance(value, int)
    }


@pytest.mark.parametrize(("name", "code"), every_code().items(), ids=every_code())
def test_every_client_error_has_its_place(name: str, code: int) -> None:
    """Each code becomes one of the port's errors that says what to do."""
    error = translate(KafkaError(code))

    assert isinstance(error, ours.BackendError)
    assert (type(error) is ours.BackendError) == (code in NO_CLASS_OF_THEIR_OWN)
    assert name in str(error)


@pytest.mark.parametrize(("name", "code"), every_code().items(), ids=every_code())
def test_every_code_of_the_library_is_classified(name: str, code: int) -> None:
    """By name, in one place: a release with a new code fails here until it was looked at."""
    places = CLASSIFIED, NOT_ASKED_FOR, CLIENTS_OWN, PASSING

    assert sum(code in place for place in places) == 1, name


def test_brokers_codes_mean_the_same_through_both_clients() -> None:
    """A broker's answer asks for the same, whichever exception carries it."""
    brokers = [code for code in every_code().values() if code >= 0]

    assert len(brokers) > 100
    assert all(class_of(code) is class_of_code(code) for code in brokers)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (KafkaError(KafkaError._ALL_BROKERS_DOWN), ours.BackendUnavailableError),
        (KafkaError(KafkaError._AUTHENTICATION), ours.AuthenticationError),
        (KafkaError(KafkaError._UNKNOWN_TOPIC), ours.UnknownTopicError),
        (KafkaError(KafkaError._MSG_TIMED_OUT), ours.DeliveryTimeoutError),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), ours.RecordTooLargeError),
        (KafkaError(KafkaError._FENCED, fatal=True), ours.FencedError),
        (KafkaError(KafkaError.ILLEGAL_GENERATION), ours.CommitRefusedError),
        (
            KafkaError(KafkaError._TIMED_OUT, txn_requires_abort=True),
            ours.TransactionAbortedError,
        ),
        (KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True), ours.FencedError),
        (KafkaError(KafkaError._SSL, "verify failed"), ours.AuthenticationError),
        (KafkaError(KafkaError._SSL, "Disconnected"), ours.BackendUnavailableError),
    ],
    ids=str,
)
def test_errors_ask_for_the_right_thing(
    theirs: KafkaError, expected: type[ours.BackendError]
) -> None:
    """Flags count more than codes: what is fatal stops, what spoils a transaction aborts it."""
    assert type(translate(theirs)) is expected


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (KafkaException(KafkaError(KafkaError._TIMED_OUT)), ours.BackendUnavailableError),
        (BufferError("queue full"), ours.BackendUnavailableError),
        (OSError("no memory"), ours.BackendUnavailableError),
        (ValueError("negative"), ours.BackendConfigError),
        (TypeError("no bytes"), ours.BackendConfigError),
        (RuntimeError("Consumer closed"), ours.BackendError),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, Exception) else case.__name__,
)
def test_what_the_library_raises_is_translated(
    theirs: Exception, expected: type[ours.BackendError]
) -> None:
    """Nothing of the library's own comes out, and the cause is kept."""
    with pytest.raises(ours.BackendError) as raised, translated():
        raise theirs

    assert type(raised.value) is expected
    assert raised.value.__cause__ is theirs
