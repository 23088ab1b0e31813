"""Debian's redis-server for tests, beside the embedded Valkey."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.kafka.certificates import make_certificates
from tests.support.kafka.kafka_jars import skip_or_fail

START_LIMIT_SECONDS = 20.0


class SecureRedis(NamedTuple):
    """A server with TLS, whose user `worker` may do what the metadata store does and no more."""

    address: str
    authority: Path

    def url(self, user: str, password: str, *, trusted: bool = True) -> str:
        """Return the URL of a user who trusts the server's authority, or no one's."""
        trust = f"?ssl_ca_certs={self.authority}" if trusted else ""
        return f"rediss://{user}:{password}@{self.address}/0{trust}"


@contextmanager
def open_redis(*options: str) -> Iterator[int]:
    """Run redis-server on a free port of loopback and give the port."""
    program = shutil.which("redis-server")
    if program is None:
        skip_or_fail("needs redis-server (Debian's package of that name), which is not on the PATH")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    where = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    listen = [] if "--tls-port" in options else ["--port", str(port)]
    filled = [option.replace("PORT", str(port)) for option in options]
    with subprocess.Popen([program, *where, *listen, *filled], stdout=subprocess.DEVNULL) as server:
        try:
            _wait_until_answering(server, port)
            yield port
        finally:
            server.kill()


@contextmanager
def open_secure_redis() -> Iterator[SecureRedis]:
    """Run redis-server with TLS and ACLs."""
    with tempfile.TemporaryDirectory(prefix="topicserve-redis-") as folder:
        made = make_certificates(Path(folder) / "certificates")
        acl = Path(folder) / "users.acl"
        acl.write_text(
            "user default off\n"
            "user worker on >right ~topicserve:* +ping +set +mget +unlink\n"
            "user stranger on >right ~other:* +ping\n"
        )
        tls = ["--tls-cert-file", made.certificate, "--tls-key-file", made.key]
        trust = ["--tls-ca-cert-file", made.authority, "--tls-auth-clients", "no"]
        options = ["--port", "0", "--tls-port", "PORT", "--aclfile", acl, *tls, *trust]
        with open_redis(*map(str, options)) as port:
            yield SecureRedis(f"127.0.0.1:{port}", made.authority)


def _wait_until_answering(server: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "redis-server did not start"
            try:
                server.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError("redis-server ended") from None
        return
