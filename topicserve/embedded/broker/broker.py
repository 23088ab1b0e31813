"""The broker's state, in one object that request handlers are given."""

import time
from collections.abc import Callable

from topicserve.embedded.broker.config import BrokerConfig
from topicserve.embedded.broker.groups import Groups
from topicserve.embedded.broker.log.journal import Journal
from topicserve.embedded.broker.topics import Topic, Topics
from topicserve.embedded.broker.transactions import TransactionCoordinator

NODE_ID = 1
CLUSTER_ID = "topicserve-embedded"


class EmbeddedBroker:
    """Everything that the broker knows; the request handlers read and change it.

    All of it belongs to one thread, that of the event loop, so there are no locks: a change that
    does not wait in between is seen whole or not at all. With `config.data_dir` topics, offsets and
    transactions come back from the journal, and records from their files, before it listens.

    Raises OSError where the data directory cannot be written to.
    """

    def __init__(self, config: BrokerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.clock = clock
        self.host = "127.0.0.1"
        self.port = config.port
        if config.data_dir is not None:
            config.data_dir.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(config.data_dir and config.data_dir / "journal")
        self.topics = Topics(config, self._journal)
        self.groups = Groups(self._journal, clock, config.initial_rebalance_delay_seconds)
        self.transactions = TransactionCoordinator(self._journal, self.topics, self.groups, clock)

    def delete_topic(self, topic: Topic) -> None:
        """Delete a topic and what groups committed for it."""
        self.topics.delete(topic)
        self.groups.forget_topic(topic.name)
        self.transactions.forget_topic(topic.name)

    def tick(self) -> None:
        """Let time pass: sessions expire, rebalances end, transactions time out.

        Called many times a second, on the event loop's thread. Raises OSError where the journal
        cannot be written to; the next tick tries again.
        """
        self.groups.tick()
        self.transactions.tick()

    def close(self) -> None:
        """Close all files."""
        self.topics.close()
        self._journal.close()
