"""`topicserve replay`: answer a range of records again, with a version of your choice.

    plan (configuration) + bounds (offsets) -> ReplayReplica -> topicserve.worker.replay

Replicas of one command share a group, which keeps how far the replay is; `account` adds up what
became of every record, and `compare` holds the results against those that were published.
"""

from topicserve.cli.replay.command import run
from topicserve.cli.replay.flags import EXAMPLE, add_arguments

__all__ = ["EXAMPLE", "add_arguments", "run"]
