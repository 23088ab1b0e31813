"""The one error that reading from the wire raises.

Decoders raise nothing else, whatever the bytes are; the worker makes a dead letter of each.
"""

from topicserve.errors import TopicserveError


class InvalidRecordError(TopicserveError, ValueError):
    """A record cannot be read. `field` names what is wrong, `problem` says how."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def reason_of(error: Exception) -> str:
    """Return in words what was wrong with an object that was read: a key that is missing, ..."""
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
