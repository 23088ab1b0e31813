"""The status of a deployment: two samples, what its workers say, and what follows from both."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from topicserve.cli.status.flags import Deployment
from topicserve.cli.status.recent import Recent
from topicserve.cli.status.sample import Sample
from topicserve.cli.status.workers import ReportedWorker
from topicserve.cli.terminal import counted
from topicserve.wire.kafka_record import TopicPartition

STABLE = "Stable"
_NO_MEMBERS = ("Empty", "Dead")


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition of an input topic; rates are records a second."""

    partition: TopicPartition
    end: int
    committed: int | None
    lag: int
    """Records that are not answered: from the committed offset, or the first one, to the end."""
    written_per_second: float | None
    """None until two samples were taken."""
    answered_per_second: float | None
    worker: str
    """Which member has it; empty for none."""

    @property
    def drain_seconds(self) -> float | None:
        """Return how long the lag takes at these rates; None where it does not shrink.

        0 without a lag. An estimate for a person, not a timeout.
        """
        if not self.lag:
            return 0.0
        if self.answered_per_second is None or self.written_per_second is None:
            return None
        shrinks = self.answered_per_second - self.written_per_second
        return self.lag / shrinks if shrinks > 0 else None

    def content(self) -> dict[str, Any]:
        """Return it as a script has it."""
        return {
            "topic": self.partition.topic,
            "partition": self.partition.partition,
            "end": self.end,
            "committed": self.committed,
            "lag": self.lag,
            "written_per_second": _rounded(self.written_per_second),
            "answered_per_second": _rounded(self.answered_per_second),
            "drain_seconds": _rounded(self.drain_seconds),
            "worker": self.worker or None,
        }


class Status:
    """What one look shows.

    Rates are differences of two samples over the time between them; a look without one before has
    none. It asks nothing: all is in what it is given.
    """

    def __init__(
        self,
        deployment: Deployment,
        sample: Sample,
        before: Sample | None,
        workers: list[ReportedWorker],
        recent: Recent,
    ) -> None:
        """`before` is an earlier sample: without one there are no rates."""
        self.deployment = deployment
        self.sample = sample
        self.workers = workers
        self.recent = recent
        owners = {p: m.client_id for m in sample.group.members for p in m.partitions}
        self.partitions = [
            self._partition(partition, before, owners) for partition in sorted(sample.log)
        ]
        self.published_per_second = _rate(
            _total(sample), None if before is None else _total(before), before, sample
        )

    @property
    def lag(self) -> int:
        """Return the lag of all partitions."""
        return sum(one.lag for one in self.partitions)

    @property
    def drain_seconds(self) -> float | None:
        """Return how long the slowest partition takes; None where one does not get on."""
        found = [one.drain_seconds for one in self.partitions]
        known = [one for one in found if one is not None]
        return max(known, default=0.0) if len(known) == len(found) else None

    @property
    def waiting_for(self) -> list[str]:
        """Return what keeps records from being answered, as far as it shows from outside.

        A sentence each: missing topics, a group without members or in a rebalance, partitions that
        do not get on, and what the workers say themselves. Empty means that nothing is waited for.
        """
        return list(self._waiting_for())

    def total(self, name: str) -> float | None:
        """Return the sum of a rate over the partitions."""
        found: list[float | None] = [getattr(one, name) for one in self.partitions]
        return None if None in found or not found else sum(one or 0.0 for one in found)

    def content(self) -> dict[str, Any]:
        """Return the status as a script has it."""
        group = self.sample.group
        return {
            "group": self.deployment.group_id,
            "state": group.state,
            "lag": self.lag,
            "drain_seconds": _rounded(self.drain_seconds),
            "written_per_second": _rounded(self.total("written_per_second")),
            "answered_per_second": _rounded(self.total("answered_per_second")),
            "published_per_second": _rounded(self.published_per_second),
            "partitions": [one.content() for one in self.partitions],
            "members": [
                {
                    "worker": member.client_id,
                    "host": member.host,
                    "group_instance_id": member.group_instance_id,
                    "partitions": len(member.partitions),
                }
                for member in sorted(group.members, key=lambda one: one.client_id)
            ],
            "workers": [worker.content() for worker in self.workers],
            **self.recent.content(),
            "since": self.deployment.since.isoformat(),
            "waiting_for": self.waiting_for,
        }

    def _partition(
        self, partition: TopicPartition, before: Sample | None, owners: dict[TopicPartition, str]
    ) -> PartitionStatus:
        sample = self.sample
        log, committed = sample.log[partition], sample.committed.get(partition)
        earlier = before.log.get(partition) if before else None
        stood = before.committed.get(partition) if before else None
        # Records that were deleted unread are no lag.
        start = log.start if committed is None else max(committed, log.start)
        return PartitionStatus(
            partition,
            log.end,
            committed,
            max(log.end - start, 0),
            _rate(log.end, None if earlier is None else earlier.end, before, sample),
            _rate(committed or 0, None if before is None else stood or 0, before, sample),
            owners.get(partition, ""),
        )

    def _waiting_for(self) -> Iterator[str]:
        for topic in self.sample.missing_topics:
            yield f"topic {topic} does not exist"
        state = self.sample.group.state
        if state in _NO_MEMBERS:
            yield f"no worker is in the group {self.deployment.group_id}"
        elif state != STABLE:
            yield f"the group rebalances ({state})"
        for one in self.partitions:
            if one.lag and state == STABLE and not one.worker:
                yield f"{_name(one.partition)} is assigned to no member"
            elif one.lag and one.worker and one.answered_per_second == 0:
                waiting = f"{counted(one.lag, 'record')} {'waits' if one.lag == 1 else 'wait'}"
                yield f"{_name(one.partition)}: {waiting}, and none was answered"
        for worker in self.workers:
            for problem in worker.problems:
                yield f"{worker.url}: {problem}"
        if self.recent.problem:
            yield self.recent.problem


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}-{partition.partition}"


def _total(sample: Sample) -> int:
    return sum(offsets.end for offsets in sample.output.values())


def _rate(now: int, then: int | None, before: Sample | None, sample: Sample) -> float | None:
    if before is None or then is None or sample.at <= before.at:
        return None
    # Below 0 where a topic was created again.
    return max(now - then, 0) / (sample.at - before.at)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)
