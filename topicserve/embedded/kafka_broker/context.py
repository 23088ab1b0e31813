"""What the handlers of requests share."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from topicserve.embedded.kafka_broker.groups import CommittedOffset, Group
from topicserve.embedded.kafka_broker.topics import Topics
from topicserve.embedded.kafka_broker.transactions import Transactions

NODE_ID = 1
CLUSTER_ID = "topicserve-embedded"
MAX_GROUPS = 10_000


class BrokerSettings(NamedTuple):
    """How a broker behaves."""

    num_partitions: int = 4
    auto_create_topics: bool = True
    retention_bytes: int = 512 * 1024 * 1024
    """Of each partition."""
    max_message_bytes: int = 1_048_588
    group_initial_rebalance_delay_seconds: float = 0.05
    data_dir: Path | None = None


class Caller(NamedTuple):
    """Who sent a request."""

    client_id: str
    host: str


class Broker:
    """The broker's state. Everything happens on one event loop, so nothing is locked."""

    def __init__(
        self, settings: BrokerSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.host = ""
        self.port = 0
        self.groups: dict[str, Group] = {}
        self.topics = Topics(
            settings.num_partitions,
            settings.retention_bytes,
            settings.data_dir,
            settings.max_message_bytes,
        )
        self.transactions = Transactions(self.topics, self.group, clock)
        self.changed = False
        """Something was changed that the state file is to tell the next run."""
        if settings.data_dir is not None:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            self._restore(settings.data_dir / "state.json")

    def group(self, group_id: str) -> Group:
        """Return a group, a new one if there is none."""
        found = self.groups.get(group_id)
        if found is None:
            delay = self.settings.group_initial_rebalance_delay_seconds
            if len(self.groups) >= MAX_GROUPS:
                self._forget_idle_groups()
            found = self.groups[group_id] = Group(group_id, self.clock, delay)
        return found

    def tick(self) -> None:
        """Do what time brings: evictions, timeouts, saving."""
        for group in list(self.groups.values()):
            group.tick()
        if self.transactions.tick():
            self.changed = True
        self.save()

    def save(self) -> None:
        """Write the state file, whole and at once, if something has changed."""
        if self.settings.data_dir is None or not self.changed:
            return
        self.changed = False
        state = {
            "topics": {t.name: [len(t.partitions), t.config] for t in self.topics.all()},
            "groups": {
                group.id: [[*where, *offset] for where, offset in group.offsets.items()]
                for group in self.groups.values()
                if group.offsets
            },
            "next_producer_id": self.transactions.next_producer_id,
            "transactions": self.transactions.snapshot(),
        }
        fresh = self.settings.data_dir / "state.new"
        fresh.write_text(json.dumps(state))
        fresh.replace(self.settings.data_dir / "state.json")

    def close(self) -> None:
        """Save, and close the files."""
        self.save()
        self.topics.close()

    def _restore(self, path: Path) -> None:
        if not path.exists():
            return
        state = json.loads(path.read_text())
        for name, (partitions, config) in state["topics"].items():
            self.topics.create(name, partitions, config)
        for group_id, offsets in state["groups"].items():
            self.group(group_id).offsets = {
                (topic, partition): CommittedOffset(offset, metadata)
                for topic, partition, offset, metadata in offsets
            }
        # Ids given out since the last save are skipped, never given out twice.
        self.transactions.next_producer_id = state["next_producer_id"] + 1000
        self.transactions.restore(
            {name: (found[0], found[1]) for name, found in state["transactions"].items()}
        )

    def _forget_idle_groups(self) -> None:
        for group_id in [g.id for g in self.groups.values() if not g.members and not g.offsets]:
            del self.groups[group_id]
