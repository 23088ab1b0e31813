import kafka.errors
import pytest

from topicserve.backends import errors as ours
from topicserve.backends.kafka_errors import CLASSIFIED, NOT_ASKED_FOR
from topicserve.backends.kafka_python.errors import translate, translated

# IllegalStateError is a wrong order of calls, a fault of the adapter's own.
NO_CLASS_OF_THEIR_OWN = {kafka.errors.IllegalStateError}


def passes(kind: type[ours.BackendError]) -> bool:
    """Return whether an error of this class is for trying again."""
    return issubclass(kind, ours.BackendUnavailableError)


def every_class() -> list[type[Exception]]:
    """Return all of kafka-python's error classes."""
    return [
        kind
        for kind in vars(kafka.errors).values()
        if isinstance(kind, type) and issubclass(kind, kafka.errors.KafkaError)
    ]


def an_error(kind: type[Exception]) -> Exception:
    """Return an error of a class, whatever its constructor asks for."""
    error = kind.__new__(kind)
    error.args = ("because",)
    return error


@pytest.mark.parametrize("kind", every_class(), ids=lambda kind: kind.__name__)
def test_every_client_error_has_its_place(kind: type[Exception]) -> None:
    """Each class of kafka-python's becomes one of the port's that says what to do."""
    error = translate(an_error(kind))

    assert isinstance(error, ours.BackendError)
    assert (type(error) is ours.BackendError) == (kind in NO_CLASS_OF_THEIR_OWN)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in every_class() if issubclass(kind, kafka.errors.BrokerResponseError)],
    ids=lambda kind: kind.__name__,
)
def test_every_code_of_the_library_is_classified(kind: type[Exception]) -> None:
    """By name, in one place: a release with a new code fails here until it was looked at."""
    code = kind.errno  # type: ignore[attr-defined]  # the library is untyped

    assert code in (None, -1) or (code in CLASSIFIED) != (code in NOT_ASKED_FOR)


def test_a_retry_is_what_the_library_itself_says() -> None:
    """What it marks as retriable is for trying again; topics that are not there are waited for."""
    retriable = {
        kind.errno  # type: ignore[attr-defined]  # the library is untyped
        for kind in every_class()
        if getattr(kind, "retriable", False) and getattr(kind, "errno", None) in CLASSIFIED
    }

    assert {CLASSIFIED[code] for code in retriable if not passes(CLASSIFIED[code])} == {
        ours.UnknownTopicError
    }


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (kafka.errors.TopicAuthorizationFailedError(), ours.AuthenticationError),
        (kafka.errors.SaslAuthenticationFailedError(), ours.AuthenticationError),
        (kafka.errors.UnknownTopicOrPartitionError(), ours.UnknownTopicError),
        (kafka.errors.MessageSizeTooLargeError(), ours.RecordTooLargeError),
        (kafka.errors.RebalanceInProgressError(), ours.CommitRefusedError),
        (kafka.errors.CommitFailedError(), ours.CommitRefusedError),
        (kafka.errors.ProducerFencedError(), ours.FencedError),
        (kafka.errors.FencedInstanceIdError(), ours.FencedError),
        (kafka.errors.TransactionAbortableError(), ours.TransactionAbortedError),
        (kafka.errors.NotLeaderForPartitionError(), ours.BackendUnavailableError),
        (kafka.errors.KafkaTimeoutError(), ours.BackendUnavailableError),
        (kafka.errors.UnsupportedCodecError(), ours.BackendConfigError),
        (ConnectionResetError("reset"), ours.BackendUnavailableError),
        (OSError("no route"), ours.BackendUnavailableError),
        (ValueError("must be positive"), ours.BackendConfigError),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, Exception) else case.__name__,
)
def test_errors_ask_for_the_right_thing(
    theirs: Exception, expected: type[ours.BackendError]
) -> None:
    """What the caller should do does not depend on the client's wording."""
    assert type(translate(theirs)) is expected


def test_a_missing_codec_names_the_remedy() -> None:
    """A compressed topic without the library says what to install."""
    theirs = RuntimeError("Libraries for snappy compression codec not found")

    error = translate(theirs)

    assert type(error) is ours.BackendConfigError
    assert "topicserve[codecs]" in str(error)


def test_the_cause_is_kept() -> None:
    """The client's own error is chained for anyone who reads the traceback."""
    theirs = kafka.errors.KafkaTimeoutError("late")

    with pytest.raises(ours.BackendUnavailableError) as raised, translated():
        raise theirs

    assert raised.value.__cause__ is theirs
