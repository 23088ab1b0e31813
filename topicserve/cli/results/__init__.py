"""`topicserve results`: one result, shadow record or dead letter, a line of JSON each.

A reader for people and shell scripts. Programs use `topicserve.ResultReader`, which this one is
built on too.
"""

from topicserve.cli.results.command import add_arguments, run

__all__ = ["add_arguments", "run"]
