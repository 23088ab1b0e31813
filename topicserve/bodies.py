"""What a body of your own needs: the interface, what it returns, what it is given, its errors.

Flat, and frozen by a test; `docs/custom_body.md` walks through a body.
"""

from topicserve.wire.bodies.asked import Asked
from topicserve.wire.bodies.interface import Body, BodyAnswer, BodyContent, RoutingBody
from topicserve.wire.bodies.options import BodyError, BodyOptions, read_body_options
from topicserve.wire.bodies.registry import known_bodies
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.result import MetadataStatus

__all__ = [
    "Asked",
    "Body",
    "BodyAnswer",
    "BodyContent",
    "BodyError",
    "BodyOptions",
    "InvalidRecordError",
    "MetadataStatus",
    "RoutingBody",
    "known_bodies",
    "read_body_options",
]
