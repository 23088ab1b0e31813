"""An Apache Kafka cluster: three nodes, each broker and controller, any of which may be killed.

    with KafkaCluster() as cluster:
        cluster.bootstrap_servers

Topics, internal ones too, have a replica on each node, of which all but one must be in sync.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from kafka.protocol.metadata import MetadataRequest

from tests.support.kafka.apache_kafka import ApacheKafka
from tests.support.processes.stack import raw_client

NODES = 3
_METADATA_VERSION = 7
# Kafka's own, which ApacheKafka shortens: brokers that share cores with what is tested are not to
# be taken for dead, and a killed one's partitions are led by others only when this time is over.
_BROKER_SESSION = {"broker.session.timeout.ms": 9_000, "broker.heartbeat.interval.ms": 2_000}


class Partition(NamedTuple):
    """A partition as one of the brokers describes it."""

    topic: str
    number: int
    leader: int
    in_sync: frozenset[int]


class KafkaCluster:
    """Nodes by id, all running when the context is entered; leaving it ends them."""

    def __init__(self, settings: Mapping[str, object] | None = None, *, nodes: int = NODES) -> None:
        own = _BROKER_SESSION | dict(settings or {})
        self.nodes = {number: ApacheKafka(own, node_id=number) for number in range(1, nodes + 1)}
        self._opened = ExitStack()

    @property
    def bootstrap_servers(self) -> str:
        """Return the addresses that clients are given."""
        return ",".join(node.bootstrap_servers for node in self.nodes.values())

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for node in self.nodes.values():
                node.prepare()
                opened.push(node.__exit__)
            voters = {number: node.ports.controller for number, node in self.nodes.items()}
            # None answers before most of the controllers are there.
            for node in self.nodes.values():
                node.launch(voters)
            for node in self.nodes.values():
                node.wait_until_answering()
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.close()

    def is_led_without(self, number: int) -> bool:
        """Tell whether each broker but this one knows a leader of all partitions but this one."""
        others = self.nodes.keys() - {number}
        return all(
            partition.leader in others
            for other in others
            for partition in self.partitions(self.nodes[other])
        )

    def is_in_sync(self) -> bool:
        """Tell whether every partition has all its replicas in sync, as each broker knows."""
        return all(
            partition.in_sync == self.nodes.keys()
            for node in self.nodes.values()
            for partition in self.partitions(node)
        )

    def partitions(self, node: ApacheKafka) -> Iterable[Partition]:
        """Return all partitions, those of internal topics too, as a node knows them."""
        with raw_client(node.bootstrap_servers) as frames:
            answer = frames.ask(MetadataRequest(topics=None), _METADATA_VERSION)
        return [
            Partition(topic.name, one.partition_index, one.leader_id, frozenset(one.isr_nodes))
            for topic in answer.topics
            for one in topic.partitions
        ]
