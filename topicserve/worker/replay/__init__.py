"""A bounded replay: the worker's own pipeline over a range of offsets, with an account.

The range and the account are committed beside the offsets of the replay's group, so any number of
replicas share one replay, and one that is killed loses neither.
"""
