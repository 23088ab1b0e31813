"""The kind `hashmap`: a table from keys to values, and the how-to for new kinds."""

from topicserve.servables.kinds.hashmap.hashmap import make_adapter

__all__ = ["make_adapter"]
