"""Errors that a person can correct."""

from topicserve.errors import TopicserveError


class UsageError(TopicserveError):
    """One line for the person: what is wrong and what to do. The exit code is 2.

    It begins with the flag, the key or the file at fault. Commands raise it; only `commands`
    catches it. It is not for bugs, nor for work that failed half way, whose exit code is 1.
    """
