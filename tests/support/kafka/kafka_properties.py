"""The server.properties of Apache Kafka's nodes in tests."""

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.kafka.certificates import make_certificates

# Users of a server that was opened with `secure`; "no one" may log in and do nothing.
USERS = {"admin": "admin-secret", "nobody": "nobody-secret"}


class Ports(NamedTuple):
    """Where a node listens, always on 127.0.0.1."""

    clients: int = 0
    controller: int = 0
    inner: int = 0

    @classmethod
    def free(cls) -> Self:
        """Return ports that are free at the moment."""
        with ExitStack() as opened:
            sockets = [opened.enter_context(socket.socket()) for _ in cls._fields]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            return cls(*(one.getsockname()[1] for one in sockets))


def node_properties(
    node_id: int, ports: Ports, voters: Mapping[int, int], data: Path, client_protocol: str
) -> dict[str, object]:
    """Return what a node needs that is broker and controller in one.

    `voters` are the controllers' ports by node id; internal topics have a replica on each of them.
    """
    replicas = len(voters)
    in_sync = max(1, replicas - 1)
    return {
        "process.roles": "broker,controller",
        "node.id": node_id,
        "controller.quorum.voters": ",".join(
            f"{node}@127.0.0.1:{port}" for node, port in voters.items()
        ),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INNER",
        "listeners": f"CLIENTS://127.0.0.1:{ports.clients},INNER://127.0.0.1:{ports.inner},"
        f"CONTROLLER://127.0.0.1:{ports.controller}",
        "listener.security.protocol.map": f"CLIENTS:{client_protocol},INNER:PLAINTEXT,"
        "CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        "num.partitions": 4,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        # A killed server may come back when its old registration has ended; 9 s otherwise.
        "broker.session.timeout.ms": 1000,
        "broker.heartbeat.interval.ms": 200,
        # A crashed transaction is looked for so often; ten seconds otherwise.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
    }


def security_properties(certificates: Path) -> dict[str, object]:
    """Return what lets only `USERS` in, over TLS, and admin alone do anything."""
    made = make_certificates(certificates)
    users = " ".join(f'user_{user}="{password}"' for user, password in USERS.items())
    listener = "listener.name.clients"
    return {
        f"{listener}.ssl.keystore.type": "PEM",
        f"{listener}.ssl.keystore.location": made.server,
        f"{listener}.sasl.enabled.mechanisms": "PLAIN",
        f"{listener}.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain."
        f"PlainLoginModule required {users};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",
    }


def write_properties(path: Path, properties: Mapping[str, object]) -> None:
    """Write a server.properties file."""
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
