"""redis-py's errors, and the server's own error replies, in the port's words."""

from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager

import redis

from topicserve.backends.errors import (
    AuthenticationError,
    BackendBusyError,
    BackendConfigError,
    BackendError,
    BackendUnavailableError,
)
from topicserve.redact import redact

_REFUSED = (
    redis.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.AuthenticationWrongNumberOfArgsError,
)
# redis-py raises these beside the tree of RedisError.
_OUTSIDE_THE_TREE: tuple[type[Exception], ...] = tuple(
    kind
    for kind in vars(redis.exceptions).values()
    if isinstance(kind, type)
    and issubclass(kind, Exception)
    and not issubclass(kind, redis.RedisError)
)
THEIRS: tuple[type[Exception], ...] = (redis.RedisError, *_OUTSIDE_THE_TREE)

# The first word of an error reply, where trying again does not help: the command is wrong, or the
# server is a cluster's node that another client is needed for. Redis has no list of its words and
# gets new ones; those not named here say something about the server's state, which passes: BUSY,
# LOADING, MASTERDOWN, MISCONF, NOREPLICAS, OOM, READONLY, CLUSTERDOWN, TRYAGAIN, UNKILLABLE.
_FINAL_WORDS = frozenset({"ERR", "WRONGTYPE", "MOVED", "ASK", "CROSSSLOT", "NOSCRIPT", "EXECABORT"})
_PASSWORD_WORDS = frozenset({"NOAUTH", "WRONGPASS"})
_REFUSING_WORDS = frozenset({"NOPERM", "DENIED"})
_NO_ANSWER = (redis.ConnectionError, redis.TimeoutError)


@contextmanager
def translated(secrets: Collection[str]) -> Generator[None]:
    """Raise the port's errors for redis-py's, without the secrets given."""
    try:
        yield
    except THEIRS as error:
        # Without the cause where a secret is in it: a traceback would print it.
        cause = error if redact(str(error), secrets) == str(error) else None
        raise translate(error, secrets) from cause
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # redis-py takes it for granted that a reply has the right type, in its greeting too.
        raise BackendConfigError(
            f"Redis answered what a metadata store should not: {type(error).__name__}"
        ) from error
    except OSError as error:
        raise BackendUnavailableError(f"Redis is not available: {error}") from error


def translate(error: Exception, secrets: Collection[str] = ()) -> BackendError:
    """Return the port's error for one of redis-py's, most telling class first."""
    text = redact(str(error), secrets)
    word = _word(error)
    if isinstance(error, redis.AuthenticationError) or word in _PASSWORD_WORDS:
        return AuthenticationError(f"Redis refused the user or password: {text}")
    if isinstance(error, _REFUSED) or word in _REFUSING_WORDS:
        return AuthenticationError(f"Redis refused us: {text}; check the credentials and ACLs")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return AuthenticationError(f"Redis is not trusted: {text}; check ssl_ca_certs")
    if word and word not in _FINAL_WORDS:
        shown = text if text.startswith(word) else f"{word} {text}"
        return BackendBusyError(f"Redis answers, but cannot serve now: {shown}")
    if isinstance(error, _NO_ANSWER):
        return BackendUnavailableError(f"Redis is not available: {text}")
    return BackendConfigError(f"Redis answered what a metadata store should not: {text}")


def worst(errors: Iterable[Exception], secrets: Collection[str]) -> BackendError | None:
    """Return the error to act on, of those of one pipeline: one that does not pass, if any."""
    found = [translate(error, secrets) for error in errors]
    return min(found, key=lambda one: isinstance(one, BackendUnavailableError), default=None)


def _word(error: Exception) -> str:
    """Return the first word of the server's error reply; empty where the client failed."""
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return "LOADING"
    word = getattr(error, "status_code", None)
    # redis-py takes the word off the text only for the classes that it has.
    if word is None and isinstance(error, redis.ResponseError):
        word = _WORDS.get(type(error)) or str(error).partition(" ")[0]
    if not isinstance(word, str) or not word.isalpha() or not word.isupper():
        return ""
    return word


_WORDS: dict[type[Exception], str] = {
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.MasterDownError: "MASTERDOWN",
}
