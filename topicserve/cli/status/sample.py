"""What a broker says of a group and its topics at one moment."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from topicserve.backends.broker import GroupDescription, LogOffsets, OffsetsAdmin
from topicserve.cli import connection
from topicserve.cli.status.flags import Deployment
from topicserve.wire.kafka_record import TopicPartition


@dataclass(frozen=True, slots=True)
class Sample:
    """One look; offsets by partition."""

    at: float
    """When, by a clock that only differences are taken of."""
    group: GroupDescription
    log: dict[TopicPartition, LogOffsets]
    """Of the input topics."""
    committed: dict[TopicPartition, int | None]
    output: dict[TopicPartition, LogOffsets] = field(default_factory=dict)
    dead_letters: dict[TopicPartition, LogOffsets] = field(default_factory=dict)
    missing_topics: tuple[str, ...] = ()


def take_sample(
    admin: OffsetsAdmin, deployment: Deployment, clock: Callable[[], float] = time.monotonic
) -> Sample:
    """Ask for all of it, 10 seconds a question at most. Raises BackendError.

    The questions are asked one after the other, so numbers may be some milliseconds apart.
    """
    reach = connection.REACH_SECONDS
    missing: list[str] = []

    def log_of(topics: Sequence[str], *, is_needed: bool) -> dict[TopicPartition, LogOffsets]:
        partitions: list[TopicPartition] = []
        for topic in filter(None, topics):
            count = admin.partitions(topic, reach)
            if count is None and is_needed:
                missing.append(topic)
            partitions += [TopicPartition(topic, number) for number in range(count or 0)]
        return admin.log_offsets(partitions, reach) if partitions else {}

    at = clock()
    log = log_of(deployment.topics, is_needed=True)
    return Sample(
        at=at,
        group=admin.describe_group(deployment.group_id, reach),
        log=log,
        committed=admin.committed(deployment.group_id, list(log), reach) if log else {},
        output=log_of([deployment.output_topic], is_needed=True),
        # Workers create it when they start.
        dead_letters=log_of([deployment.dead_letter_topic], is_needed=False),
        missing_topics=tuple(missing),
    )
