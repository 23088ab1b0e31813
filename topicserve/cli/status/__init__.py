"""`topicserve status`: lag, members, rates, dead letters, and what workers wait for."""

from topicserve.cli.status.command import run
from topicserve.cli.status.flags import add_arguments

__all__ = ["add_arguments", "run"]
