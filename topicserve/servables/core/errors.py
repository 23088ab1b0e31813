"""What can go wrong in the servable core, by TF Serving's status codes.

ServableError
  NotFoundError             NOT_FOUND            no such servable or version now
  InvalidArgumentError      INVALID_ARGUMENT     these inputs, config or path: always wrong
  FailedPreconditionError   FAILED_PRECONDITION  not in a state that allows this
    RowCountError           FAILED_PRECONDITION  an output has other rows than went in
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

from topicserve.errors import TopicserveError
from topicserve.errors import error_text as error_text  # what kinds raise is told with it


class ServableError(TopicserveError):
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


class RowCountError(FailedPreconditionError):
    """An output has another number of rows than went in."""


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
    """Something failed for a reason that no one named."""


class UnavailableError(ServableError):
    """A passing fault: try again later."""

    code = "UNAVAILABLE"
    retriable = True


class DeadlineExceededError(ServableError):
    """A passing fault: no answer in time."""

    code = "DEADLINE_EXCEEDED"
    retriable = True


_CODES = frozenset(kind.code for kind in ServableError.__subclasses__())


def status_code(error: BaseException) -> str:
    """Return TF Serving's code for what a servable raised: one of the tree's, or UNKNOWN."""
    code = error.code if isinstance(error, ServableError) else None
    return code if isinstance(code, str) and code in _CODES else "UNKNOWN"


def as_servable_error(error: BaseException) -> ServableError:
    """Return the error itself, or UnknownError saying what a loader or a servable raised.

    Out of memory is out of room, as TF Serving has it. SystemExit and the like are errors too:
    what a servable raises never ends the process.
    """
    if isinstance(error, ServableError):
        return error
    kind = ResourceExhaustedError if isinstance(error, MemoryError) else UnknownError
    translated = kind(error_text(error))
    translated.__cause__ = error
    return translated
