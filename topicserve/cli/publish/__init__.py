"""`topicserve publish`: the records of a file, a folder or standard input."""

from topicserve.cli.publish.command import run
from topicserve.cli.publish.flags import add_arguments

__all__ = ["add_arguments", "run"]
