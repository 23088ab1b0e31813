"""Errors that a person can correct."""


class UsageError(Exception):
    """One line for the person: what is wrong and what to do. The exit code is 2."""
