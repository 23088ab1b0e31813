"""[dataref]: which bodies may be fetched, and what that may cost."""

from typing import Annotated

from msgspec import Meta

from topicserve.worker.config.types import ConfigTable, Count, PositiveSeconds, Seconds


class DatarefConfig(ConfigTable, frozen=True):
    """[dataref]: bodies that lie at a URL, which the header `ce_dataref` names."""

    allow: tuple[str, ...] = ()
    """URLs under which bodies may be read, such as "s3://bucket/bodies"; empty: none are."""
    max_bytes: Count = 16 * 1024 * 1024
    """The largest body; max_in_flight_bytes counts what is read."""
    timeout_seconds: PositiveSeconds = 10.0
    """How long one try to read a body may take."""
    wait_seconds: Seconds = 120.0
    """How long a store that does not answer is tried again, from the first try on."""
    results: str = ""
    """The URL under which results are stored that the topic finds too large; empty: none are."""
    threads: Annotated[int, Meta(ge=1, le=256)] = 8
    """How many bodies are read at once."""
