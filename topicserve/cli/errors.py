"""Errors that a person can correct."""

from topicserve.errors import TopicserveError


class UsageError(TopicserveError):
    """One line for the person: what is wrong and what to do. The exit code is 2."""
