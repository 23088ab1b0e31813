"""`topicserve publish`: the records of a file, a folder or standard input.

    open_source -> RowSource -> Publishing -> RecordProducer; Window -> Checkpoint

`sources` chooses how a file is read, `rows` has the contract of all sources. `publishing` sends one
row after the other, `window` follows what became of them, and `checkpoint` keeps how far it is, so
that a command that was killed goes on where it left off, with the same record ids.
"""

from topicserve.cli.publish.command import run
from topicserve.cli.publish.flags import add_arguments

__all__ = ["add_arguments", "run"]
