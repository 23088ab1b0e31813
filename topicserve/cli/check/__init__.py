"""`topicserve check`: everything that can be known before a worker is started.

    command -> find_problems (keys) -> servers (brokers, topics, group, store) -> models (versions)

Each thing that was looked at is a Finding. Nothing is created, and no group is joined.
"""

from topicserve.cli.check.command import add_arguments, run

__all__ = ["add_arguments", "run"]
