"""`topicserve worker`: one worker in this process, or a supervisor of several.

`command` has the flags, `startup` what every kind of start does, `replicas` the supervisor's side
of `--replicas`. The worker itself is `topicserve.worker.service`.
"""

from topicserve.cli.worker.command import add_arguments, run

__all__ = ["add_arguments", "run"]
