"""`topicserve check`: everything that can be known before a worker is started."""

from topicserve.cli.check.command import add_arguments, run

__all__ = ["add_arguments", "run"]
