"""What an error of a call says about the inputs, and about the server."""

from enum import Enum

from topicserve.servables.core.errors import ResourceExhaustedError, ServableError

# What gRPC's libraries say of a message that is too large.
_TOO_LARGE = ("larger than max", "exceeds maximum", "too large")
# What Triton and TF Serving say, as UNAVAILABLE, while they have as many requests as they queue.
_FULL_QUEUE = ("Exceeds maximum queue size", "batch scheduling queue")


class CallError(Enum):
    """What follows from an error."""

    REFUSED = "refused"
    """The server answered: it is these inputs' error each time."""
    TOO_LARGE = "too large"
    """A call of fewer rows may succeed; one that cannot have fewer never will."""
    NO_ROOM = "no room"
    """A call of fewer rows may succeed, and so may the same call later."""
    FAILED = "failed"
    """The server is away, or it fails on these inputs."""


def kind_of(error: ServableError) -> CallError:
    """Return what follows from an error that a call raised."""
    text = str(error)
    if isinstance(error, ResourceExhaustedError):
        is_too_large = any(words in text for words in _TOO_LARGE)
        return CallError.TOO_LARGE if is_too_large else CallError.NO_ROOM
    if not error.retriable:
        return CallError.REFUSED
    return CallError.NO_ROOM if any(w in text for w in _FULL_QUEUE) else CallError.FAILED
