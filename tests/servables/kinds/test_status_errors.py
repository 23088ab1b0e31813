"""Statuses of gRPC and TensorFlow become errors of the core."""

import grpc
import pytest
import tensorflow as tf

from topicserve.servables.core import errors
from topicserve.servables.core.errors import ServableError
from topicserve.servables.kinds.saved_model.runtime import translate
from topicserve.servables.kinds.status_errors import MAX_MESSAGE_CHARACTERS, error_of_status

NAMES = [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
OTHERS = {
    "ABORTED": errors.UnavailableError,
    "OUT_OF_RANGE": errors.InvalidArgumentError,
    "PERMISSION_DENIED": errors.FailedPreconditionError,
    "UNAUTHENTICATED": errors.FailedPreconditionError,
}


@pytest.mark.parametrize("name", NAMES)
def test_every_status_has_its_error(name: str) -> None:
    """The error of that code where there is one, else one that asks the same of the caller."""
    error = error_of_status(name, "why")

    assert type(error) is OTHERS.get(name, type(error))
    assert name in OTHERS or error.code == name
    assert str(error) == "why"


def test_message_is_one_bounded_line() -> None:
    """TensorFlow adds where in the graph it was, line after line; the cause stands first."""
    assert str(error_of_status("INTERNAL", "why\n\t[[node]]\n")) == "why"
    assert str(error_of_status("INTERNAL", "")) == "INTERNAL"
    assert len(str(error_of_status("INTERNAL", "x" * 5000))) == MAX_MESSAGE_CHARACTERS


def test_unheard_of_status_is_unknown() -> None:
    """A newer server may have more of them."""
    assert type(error_of_status("TEAPOT", "why")) is errors.UnknownError


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (tf.errors.InvalidArgumentError(None, None, "why"), errors.InvalidArgumentError),
        (tf.errors.ResourceExhaustedError(None, None, "why"), errors.ResourceExhaustedError),
        (tf.errors.UnavailableError(None, None, "why"), errors.UnavailableError),
        (tf.errors.DataLossError(None, None, "why"), errors.DataLossError),
        (tf.errors.UnknownError(None, None, "why"), errors.UnknownError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_tensorflows_errors_are_translated(
    raised: tf.errors.OpError, kind: type[ServableError]
) -> None:
    """By their code, with their message."""
    error = translate(raised)

    assert type(error) is kind
    assert str(error) == "why"
