"""Apache Kafka for tests, benchmarks and the demo's tests: a KRaft node, without Docker.

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

from tests.support.kafka.kafka_jars import JAVA, classpath, run_tool, skip_or_fail
from tests.support.kafka.kafka_properties import (
    USERS,
    Ports,
    node_properties,
    security_properties,
    write_properties,
)
from tests.support.kafka.kafka_storage import copy_formatted
from tests.support.processes.stack import raw_client

__all__ = ["ApacheKafka", "freeze_process", "run_tool", "skip_or_fail"]

START_LIMIT_SECONDS = 90

_START_ATTEMPTS = 3
_STOP_LIMIT_SECONDS = 30
# The shell outlives no one: when the holder of its stdin dies, however it dies, it takes the
# server along. It ends behind the server: until that is dead its port still accepts.
_TIED_TO_PARENT = '"$@" & echo $!; read -r line; kill -KILL $!; wait $!'


class ApacheKafka:
    """One Apache Kafka node in its own process, which ends with this one.

    `settings` go to its server.properties. With `secure` clients must use SASL_SSL with PLAIN as
    one of `USERS` and trust `certificates.authority`; every topic and group is denied to others
    than admin. Port and data are kept over `kill` and `restart`. A KafkaCluster makes several of
    one, each with a `node_id` of its own.
    """

    def __init__(
        self,
        settings: Mapping[str, object] | None = None,
        *,
        secure: bool = False,
        node_id: int = 1,
    ) -> None:
        self.node_id = node_id
        self.ports = Ports()
        self._voters: Mapping[int, int] = {}
        self._settings = dict(settings or {})
        self._secure = secure
        self._process: subprocess.Popen[str] | None = None
        self._folder = Path()
        self.pid = 0

    @property
    def bootstrap_servers(self) -> str:
        """Return the address that clients are given."""
        return f"127.0.0.1:{self.ports.clients}"

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
        self.prepare()
        try:
            for attempt in range(1, _START_ATTEMPTS + 1):
                self.ports = Ports.free()
                self.launch({self.node_id: self.ports.controller})
                if self.wait_until_answering(may_fail=attempt < _START_ATTEMPTS):
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

    def prepare(self) -> None:
        """Make its directory and choose its ports."""
        classpath()
        self._folder = Path(tempfile.mkdtemp(prefix="topicserve-kafka-"))
        copy_formatted(self._folder / "data", self.node_id)
        self.ports = Ports.free()

    def start(self) -> None:
        """Start again after `kill` or `stop`, on the same port and data, and wait for answers."""
        self.launch(self._voters)
        self.wait_until_answering()

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
        """Stop the process in its tracks: connections stay open and no one answers."""
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

    def launch(self, voters: Mapping[int, int]) -> None:
        """Start the process as one of these controllers (ports by node id), without waiting."""
        self._voters = voters
        properties = self._folder / "server.properties"
        write_properties(properties, self._properties())
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

    def wait_until_answering(self, *, may_fail: bool = False) -> bool:
        """Wait until clients are answered; False if it ends before and `may_fail`."""
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not self.answers():
            if not _alive(self.pid) or time.monotonic() > deadline:
                self.kill()
                if may_fail:
                    return False
                raise AssertionError(f"Apache Kafka did not start:\n{self.log()[-4000:]}")
            self._wait_briefly()
        return True

    def answers(self) -> bool:
        """Tell whether clients are answered at the moment."""
        try:
            socket.create_connection(("127.0.0.1", self.ports.clients), timeout=1).close()
            # Asked where no one has to log in: behind both listeners is the same broker.
            with raw_client(f"127.0.0.1:{self.ports.inner}") as frames:
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
        protocol = "SASL_SSL" if self._secure else "PLAINTEXT"
        data = self._folder / "data"
        properties = node_properties(self.node_id, self.ports, self._voters, data, protocol)
        if self._secure:
            properties |= security_properties(self._folder / "certificates")
        return properties | self._settings


def freeze_process(pid: int) -> None:
    """Stop a process, and return when the last of its threads stands still."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + _STOP_LIMIT_SECONDS
    while any(_state(task) != "T" for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"process {pid} was not stopped"


def _alive(pid: int) -> bool:
    """Tell whether a process runs; a dead one that no one waited for does not."""
    return _state(Path(f"/proc/{pid}")) not in ("", "Z")


def _state(process: Path) -> str:
    """Return the letter for the state of a process or thread, "" if there is none."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
