"""`topicserve worker`: one worker in this process, or a supervisor of several."""

from topicserve.cli.worker.command import add_arguments, run

__all__ = ["add_arguments", "run"]
