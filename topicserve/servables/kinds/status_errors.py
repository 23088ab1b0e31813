"""From the name of a status, gRPC's and TensorFlow's alike, to the error of that status."""

from topicserve.servables.core import errors
from topicserve.servables.core.errors import ServableError

MAX_MESSAGE_CHARACTERS = 1000

_BY_NAME: dict[str, type[ServableError]] = {
    kind.code: kind for kind in ServableError.__subclasses__()
}
# What we have no class for, by what it asks of the caller.
_BY_NAME |= {
    "ABORTED": errors.UnavailableError,
    "OUT_OF_RANGE": errors.InvalidArgumentError,
    "PERMISSION_DENIED": errors.FailedPreconditionError,
    "UNAUTHENTICATED": errors.FailedPreconditionError,
}


def error_of_status(name: str, message: str) -> ServableError:
    """Return the error; its text is the first line of the message, where the cause stands."""
    first_line = message.partition("\n")[0].strip()
    return _BY_NAME.get(name, errors.UnknownError)(first_line[:MAX_MESSAGE_CHARACTERS] or name)
