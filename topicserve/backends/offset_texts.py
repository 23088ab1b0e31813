"""Texts beside committed offsets as both clients write and read them: a zero byte ends each.

confluent-kafka commits one anyway. librdkafka (2.16) reads a text without it up to the next zero
byte in memory, whatever lies between (its issue 4649), so what kafka-python commits has one too.
"""

END = "\0"


def written(text: str) -> str:
    """Return a text as it is committed; no text stays none."""
    return f"{text}{END}" if text else ""


def read(text: str) -> str:
    """Return a text without its end, and without what follows by mistake."""
    return text.partition(END)[0]
