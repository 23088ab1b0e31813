"""What can go wrong in the servable core, by TF Serving's status codes.

ServableError
  NotFoundError             NOT_FOUND            no such servable or version now
  InvalidArgumentError      INVALID_ARGUMENT     these inputs, config or path: always wrong
  FailedPreconditionError   FAILED_PRECONDITION  not in a state that allows this
  AlreadyExistsError        ALREADY_EXISTS
  ResourceExhaustedError    RESOURCE_EXHAUSTED   no room
  UnimplementedError        UNIMPLEMENTED
  DataLossError             DATA_LOSS            a damaged file
  InternalError             INTERNAL             our own fault
  CancelledError            CANCELLED            given up on purpose
  UnavailableError          UNAVAILABLE          passing: try again later
  DeadlineExceededError     DEADLINE_EXCEEDED    passing: a remote servable did not answer in time
  UnknownError              UNKNOWN
"""

from typing import ClassVar


class ServableError(Exception):
    """Anything that the core or a servable answers; `code` is the gRPC status name.

    `retriable` says whether the very same call may succeed later: a caller waits and repeats it,
    and otherwise treats it as the fault of what it passed in.
    """

    code: ClassVar[str] = "UNKNOWN"
    retriable: ClassVar[bool] = False


class NotFoundError(ServableError):
    """There is no such servable or version at this moment."""

    code = "NOT_FOUND"


class InvalidArgumentError(ServableError):
    """What was passed in is wrong and fails every time."""

    code = "INVALID_ARGUMENT"


class FailedPreconditionError(ServableError):
    """The thing is not in a state that allows this."""

    code = "FAILED_PRECONDITION"


class AlreadyExistsError(ServableError):
    """Something of that name is there already."""

    code = "ALREADY_EXISTS"


class ResourceExhaustedError(ServableError):
    """There is no room for it."""

    code = "RESOURCE_EXHAUSTED"


class UnimplementedError(ServableError):
    """This is not supported here."""

    code = "UNIMPLEMENTED"


class DataLossError(ServableError):
    """A file is damaged."""

    code = "DATA_LOSS"


class InternalError(ServableError):
    """An invariant of our own is broken."""

    code = "INTERNAL"


class CancelledError(ServableError):
    """Given up on purpose."""

    code = "CANCELLED"


class UnknownError(ServableError):
    """Something failed for a reason that nobody named."""


class UnavailableError(ServableError):
    """A passing fault: try again later."""

    code = "UNAVAILABLE"
    retriable = True


class DeadlineExceededError(ServableError):
    """A passing fault: no answer in time."""

    code = "DEADLINE_EXCEEDED"
    retriable = True


def as_servable_error(error: Exception) -> ServableError:
    """Return the error itself, or UnknownError saying what a loader or a servable raised.

    Out of memory is out of room, as TF Serving has it.
    """
    if isinstance(error, ServableError):
        return error
    kind = ResourceExhaustedError if isinstance(error, MemoryError) else UnknownError
    translated = kind(f"{type(error).__name__}: {error}")
    translated.__cause__ = error
    return translated
