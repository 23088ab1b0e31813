"""What ends the demo early."""

from topicserve.errors import TopicserveError


class DemoError(TopicserveError):
    """The demo cannot go on; one line says why, and where to look."""
