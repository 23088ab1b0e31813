"""`topicserve status`: lag, members, rates, dead letters, and what workers wait for.

    sample (the broker) + recent (ends of topics) + workers (HTTP) -> Status -> screen, or JSON

It joins no group of the workers and changes nothing.
"""

from topicserve.cli.status.command import run
from topicserve.cli.status.flags import add_arguments

__all__ = ["add_arguments", "run"]
