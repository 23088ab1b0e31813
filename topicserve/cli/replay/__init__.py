"""`topicserve replay`: answer a range of records again, with a version of your choice."""

from topicserve.cli.replay.command import run
from topicserve.cli.replay.flags import EXAMPLE, add_arguments

__all__ = ["EXAMPLE", "add_arguments", "run"]
