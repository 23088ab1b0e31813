import pytest
import redis

from topicserve.backends.errors import (
    AuthenticationError,
    BackendBusyError,
    BackendConfigError,
    BackendUnavailableError,
)
from topicserve.backends.redis_errors import THEIRS, translate, translated, worst

BUSY = redis.ResponseError("BUSY Redis is busy running a script")
WRONG = redis.ResponseError("ERR unknown command 'MGET'")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (redis.exceptions.BusyLoadingError("loading"), BackendBusyError),
        (redis.TimeoutError("slow"), BackendUnavailableError),
        (redis.ReadOnlyError("replica"), BackendBusyError),
        (redis.exceptions.NoPermissionError("NOPERM"), AuthenticationError),
        (redis.ResponseError("WRONGTYPE"), BackendConfigError),
        (redis.ResponseError("MISCONF Errors writing to the AOF file"), BackendBusyError),
        (redis.ResponseError("NOREPLICAS Not enough good replicas"), BackendBusyError),
        (redis.exceptions.MasterDownError("link down"), BackendBusyError),
        (redis.exceptions.OutOfMemoryError("maxmemory"), BackendBusyError),
        (redis.ResponseError("ANEWWORD of a later version"), BackendBusyError),
        (redis.ResponseError("no word at all"), BackendConfigError),
        (redis.exceptions.MovedError("1234 127.0.0.1:1"), BackendConfigError),
        (redis.ConnectionError("SSL: CERTIFICATE_VERIFY_FAILED"), AuthenticationError),
        (BUSY, BackendBusyError),
        (WRONG, BackendConfigError),
    ],
)
def test_every_answer_has_one_meaning(error: redis.RedisError, kind: type[Exception]) -> None:
    """What to do next depends on the port's error alone."""
    assert type(translate(error)) is kind


def every_class() -> list[type[Exception]]:
    """Return all of redis-py's error classes, those outside its own tree too."""
    return [
        kind
        for kind in vars(redis.exceptions).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]


@pytest.mark.parametrize("kind", every_class(), ids=lambda kind: kind.__name__)
def test_every_client_error_has_its_place(kind: type[Exception]) -> None:
    """Each class of redis-py's becomes one that says what to do: correct, wait or give up."""
    error = kind.__new__(kind)
    error.args = ("because",)

    with (
        pytest.raises((AuthenticationError, BackendUnavailableError, BackendConfigError)) as found,
        translated(()),
    ):
        raise error

    assert issubclass(kind, THEIRS)
    assert "because" in str(found.value) or str(error) in str(found.value)


def test_of_a_pipelines_errors_the_final_one_counts() -> None:
    """A passing fault is waited for only where nothing else is wrong."""
    assert type(worst([BUSY, WRONG], ())) is BackendConfigError
    assert type(worst([BUSY, BUSY], ())) is BackendBusyError
    assert worst([], ()) is None


def test_a_password_is_in_neither_the_text_nor_the_cause() -> None:
    """Servers repeat the arguments of a command that they do not know, AUTH's too."""
    with pytest.raises(BackendConfigError) as found, translated(("hunter2",)):
        raise redis.ResponseError("ERR unknown command 'AUTH', with args: 'hunter2'")

    assert "hunter2" not in str(found.value)
    assert found.value.__cause__ is None
    assert found.value.__suppress_context__
