"""Apache Kafka for tests, benchmarks and the demo's tests: one KRaft node, without Docker.

    with ApacheKafka() as kafka:
        kafka.bootstrap_servers

The jars and a formatted directory are kept in the checkout's cache, so that a start takes the few
seconds that the server itself needs.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka.protocol.metadata import ApiVersionsRequest

from tests.support.certificates import make_certificates
from tests.support.kafka_jars import CACHE, JAVA, classpath, locked, run_tool, skip_or_fail
from tests.support.stack import raw_client

__all__ = ["ApacheKafka", "freeze_process", "run_tool", "skip_or_fail"]

START_LIMIT_SECONDS = 90
# Users of a server that was opened with `secure`; "nobody" may log in and do nothing.
USERS = {"admin": "admin-secret", "nobody": "nobody-secret"}

_CLUSTER_ID = "dG9waWNzZXJ2ZS10ZXN0cw"
_START_ATTEMPTS = 3
_STOP_LIMIT_SECONDS = 30
# The shell outlives nobody: when whoever holds its stdin dies, however it dies, it takes the
# server along. It ends behind the server: until that is dead its port still accepts.
_TIED_TO_PARENT = '"$@" & echo $!; read -r line; kill -KILL $!; wait $!'


class ApacheKafka:
    """One Apache Kafka node in its own process, which ends with this one.

    `settings` go to its server.properties. With `secure` clients must use SASL_SSL with PLAIN as
    one of `USERS` and trust `certificates.authority`; every topic and group is denied to others
    than admin. Port and data are kept over `kill` and `restart`.
    """

    def __init__(
        self, settings: Mapping[str, object] | None = None, *, secure: bool = False
    ) -> None:
        self._settings = dict(settings or {})
        self._secure = secure
        self._process: subprocess.Popen[str] | None = None
        self._folder = Path()
        self._ports = (0, 0, 0)
        self.pid = 0

    @property
    def bootstrap_servers(self) -> str:
        """Return the address that clients are given."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def jars(self) -> str:
        """Return the class path of Apache Kafka's jars."""
        return classpath()

    @property
    def client_settings(self) -> dict[str, object]:
        """Return what clients need to connect, as admin where the server is secure."""
        settings: dict[str, object] = {"bootstrap.servers": self.bootstrap_servers}
        return settings | (self.credentials("admin") if self._secure else {})

    def credentials(self, user: str, password: str | None = None) -> dict[str, object]:
        """Return the settings with which one of the users (or a stranger) logs in."""
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.certificate_authority),
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": password or USERS[user],
        }

    @property
    def certificate_authority(self) -> Path:
        """Return the PEM file of whom clients of a secure server must trust."""
        return self._folder / "certificates" / "ca.pem"

    def __enter__(self) -> Self:
        classpath()
        self._folder = Path(tempfile.mkdtemp(prefix="topicserve-kafka-"))
        try:
            shutil.copytree(_formatted_directory(), self._folder / "data")
            for attempt in range(1, _START_ATTEMPTS + 1):
                self._choose_ports()
                if self._start(may_fail=attempt < _START_ATTEMPTS):
                    return self
        except BaseException:
            self.__exit__(None, None, None)
            raise
        raise AssertionError("the last attempt raises")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start again after `kill` or `stop`, on the same port and data, and wait for answers."""
        self._start(may_fail=False)

    def stop(self) -> None:
        """Shut the server down as an operator does."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_LIMIT_SECONDS
        while _alive(self.pid):
            if time.monotonic() > deadline:
                break
            self._wait_briefly()
        self.kill()

    def kill(self) -> None:
        """End the server with SIGKILL; returns when it is dead."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_STOP_LIMIT_SECONDS)
        self._process.stdout.close()
        self._process = None

    def restart(self) -> None:
        """Shut the server down and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the process in its tracks: connections stay open and nobody answers."""
        freeze_process(self.pid)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """Return what the server has written."""
        return (self._folder / "log").read_text(errors="replace")

    def tool(self, name: str, *arguments: str, stdin: str = "") -> str:
        """Run one of Apache Kafka's console tools against this server (not a secure one)."""
        return run_tool(name, ["--bootstrap-server", self.bootstrap_servers, *arguments], stdin)

    def _choose_ports(self) -> None:
        with socket.socket() as clients, socket.socket() as controller, socket.socket() as inner:
            sockets = (clients, controller, inner)
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            self._ports = tuple(one.getsockname()[1] for one in sockets)

    def _start(self, *, may_fail: bool) -> bool:
        properties = self._folder / "server.properties"
        properties.write_text("".join(f"{k}={v}\n" for k, v in self._properties().items()))
        server = [*JAVA, "-cp", classpath(), "kafka.Kafka", str(properties)]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _TIED_TO_PARENT, "sh", *server],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self.pid = int(self._process.stdout.readline())
        return self._wait_until_answering(may_fail)

    def _wait_until_answering(self, may_fail: bool) -> bool:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not self._answers():
            if not _alive(self.pid) or time.monotonic() > deadline:
                self.kill()
                if may_fail:
                    return False
                raise AssertionError(f"Apache Kafka did not start:\n{self.log()[-4000:]}")
            self._wait_briefly()
        return True

    def _answers(self) -> bool:
        clients, _, inner = self._ports
        try:
            socket.create_connection(("127.0.0.1", clients), timeout=1).close()
            # Asked where nobody has to log in: behind both listeners is the same broker.
            with raw_client(f"127.0.0.1:{inner}") as frames:
                return bool(frames.ask(ApiVersionsRequest(), 0).error_code == 0)
        except OSError:
            return False

    def _wait_briefly(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(0.05)
        except subprocess.TimeoutExpired:
            return

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and _alive(self.pid):
            os.kill(self.pid, number)

    def _properties(self) -> dict[str, object]:
        clients, controller, inner = self._ports
        outer = "SASL_SSL" if self._secure else "PLAINTEXT"
        properties: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INNER",
            "listeners": f"CLIENTS://127.0.0.1:{clients},INNER://127.0.0.1:{inner},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": f"CLIENTS:{outer},INNER:PLAINTEXT,"
            "CONTROLLER:PLAINTEXT",
            "log.dirs": self._folder / "data",
            "num.partitions": 4,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 4,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            # A killed server may come back when its old registration has ended; 9 s otherwise.
            "broker.session.timeout.ms": 1000,
            "broker.heartbeat.interval.ms": 200,
            # A crashed transaction is looked for so often; ten seconds otherwise.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
        }
        return properties | (self._security() if self._secure else {}) | self._settings

    def _security(self) -> dict[str, object]:
        made = make_certificates(self._folder / "certificates")
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


def freeze_process(pid: int) -> None:
    """Stop a process, and return when the last of its threads stands still."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + _STOP_LIMIT_SECONDS
    while any(_state(task) != "T" for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"process {pid} was not stopped"


def _formatted_directory() -> Path:
    """Return a directory as `kafka-storage format` leaves it; it is made once and copied."""
    formatted = CACHE / "formatted"
    with locked(CACHE):
        if not formatted.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                _format(Path(scratch))
                Path(scratch, "data").rename(formatted)
    return formatted


def _format(scratch: Path) -> None:
    server = ApacheKafka()
    server._folder = scratch
    properties = scratch / "server.properties"
    properties.write_text("".join(f"{k}={v}\n" for k, v in server._properties().items()))
    command = [*JAVA, "-cp", classpath(), "kafka.tools.StorageTool", "format"]
    subprocess.run(
        [*command, "-t", _CLUSTER_ID, "-c", str(properties)], check=True, capture_output=True
    )


def _alive(pid: int) -> bool:
    """Tell whether a process runs; a dead one that nobody waited for does not."""
    return _state(Path(f"/proc/{pid}")) not in ("", "Z")


def _state(process: Path) -> str:
    """Return the letter for the state of a process or thread, "" if there is none."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
