"""The kind `vocabulary`: tokens to ids and back, by a text file as TensorFlow writes them."""

from topicserve.servables.kinds.vocabulary.vocabulary import make_adapter

__all__ = ["make_adapter"]
