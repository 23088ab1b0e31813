import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.support.references.body_server import Answer, BodyServer, a_body_server, raw, whole
from topicserve.backends.errors import BackendConfigError
from topicserve.backends.references.errors import (
    BodyMismatchError,
    BodyNotFoundError,
    BodyStoreError,
    BodyTooLargeError,
    BrokenAnswerError,
    ReferenceRefusedError,
)
from topicserve.backends.references.reading import ReadLimits
from topicserve.backends.references.stores import BodyStores

BODY = b'{"instance": 1.0}'
PATIENCE_SECONDS = 60.0


@pytest.fixture(name="server")
def a_server() -> Iterator[BodyServer]:
    """Serve bodies over HTTP."""
    with a_body_server() as server:
        yield server


def keeping(answer: bytes) -> Answer:
    """Answer with these bytes, and leave the connection open until the client closes it."""

    def send(connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.recv(1)

    return send


def read(
    prefix: str,
    url: str,
    sha256: str | None = None,
    limits: ReadLimits | None = None,
) -> bytes:
    """Return the body at a URL, with one prefix allowed."""
    stores = BodyStores([prefix])
    limits = limits or ReadLimits(1000, PATIENCE_SECONDS)
    return stores.read(stores.locate(url), sha256, limits)


def test_a_file_is_read(tmp_path: Path) -> None:
    """With escapes in its name, and through links that stay under the prefix."""
    (tmp_path / "a b").write_bytes(BODY)
    (tmp_path / "link").symlink_to("a b")

    assert read(f"file://{tmp_path}", f"file://{tmp_path}/a%20b") == BODY
    assert read(f"file://{tmp_path}", f"file://{tmp_path}/link") == BODY


def test_a_link_out_of_the_prefix_is_refused(tmp_path: Path) -> None:
    """A linked file, and a file in a linked directory; a linked prefix is the operator's own."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret").write_bytes(BODY)
    (inside / "file").symlink_to(outside / "secret")
    (inside / "directory").symlink_to(outside)
    (tmp_path / "prefix").symlink_to(outside)

    for name in ("file", "directory/secret"):
        with pytest.raises(ReferenceRefusedError, match="link out of its prefix"):
            read(f"file://{inside}", f"file://{inside}/{name}")
    assert read(f"file://{tmp_path}/prefix", f"file://{tmp_path}/prefix/secret") == BODY


def test_what_is_no_file_is_not_found(tmp_path: Path) -> None:
    """A pipe is not waited for."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")

    for name in ("missing", "directory", "pipe", "directory/missing/a"):
        with pytest.raises(BodyNotFoundError):
            read(f"file://{tmp_path}", f"file://{tmp_path}/{name}")


def test_a_name_that_no_file_can_have_is_final(tmp_path: Path) -> None:
    """The error is the path's own, of whichever kind: no other try gives another answer."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(BODY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket"))

    with pytest.raises(ReferenceRefusedError):
        read(f"file://{tmp_path}", f"file://{tmp_path}/loop")
    for name in ("a" * 300, "/".join(["a" * 200] * 30), "file/below", "socket"):
        with pytest.raises(BodyNotFoundError):
            read(f"file://{tmp_path}", f"file://{tmp_path}/{name}")


def test_a_body_over_http_is_read(server: BodyServer) -> None:
    """With its query; with a length, in chunks, and up to the end of the connection."""
    server.answers["/a?b=c"] = whole(BODY)
    server.answers["/chunks"] = raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    server.answers["/close"] = raw(b"HTTP/1.0 200 OK\r\n\r\nabc")
    server.answers["/empty"] = whole(b"")

    assert read(server.url, f"{server.url}/a?b=c") == BODY
    assert read(server.url, f"{server.url}/chunks") == b"abc"
    assert read(server.url, f"{server.url}/close") == b"abc"
    assert read(server.url, f"{server.url}/empty") == b""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (whole(b"", status="404 Not Found"), BodyNotFoundError),
        (whole(b"", status="410 Gone"), BodyNotFoundError),
        (whole(b"", status="403 Forbidden"), ReferenceRefusedError),
        (whole(b"", status="206 Partial Content"), BrokenAnswerError),
        (whole(b"", status="204 No Content"), BrokenAnswerError),
        (whole(b"", status="999 What"), BrokenAnswerError),
        (whole(b"", *(f"X-{n}: a" for n in range(101))), BrokenAnswerError),
        (keeping(b"HTTP/1.1 200 OK\r\nContent-Length: zz\r\n\r\nabc"), BrokenAnswerError),
        (keeping(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc"), BrokenAnswerError),
        (
            keeping(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 1\r\n\r\nabc"),
            BrokenAnswerError,
        ),
        (whole(b"", status="429 Too Many Requests"), BodyStoreError),
        (whole(b"", status="503 Service Unavailable"), BodyStoreError),
        (whole(BODY, "Content-Encoding: gzip"), ReferenceRefusedError),
        (whole(b"x" * 1001), BodyTooLargeError),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx"), BodyTooLargeError),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx"), BodyStoreError),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nx"), BodyStoreError),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\nx"), BrokenAnswerError),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"), BodyStoreError),
        (raw(b"what"), BrokenAnswerError),
        (raw(b""), BodyStoreError),
    ],
)
def test_a_bad_answer_over_http_has_its_error(
    server: BodyServer, answer: Answer, error: type[Exception]
) -> None:
    """What may pass is one kind, and what never will is another."""
    server.answers["/a"] = answer

    with pytest.raises(error) as found:
        read(server.url, f"{server.url}/a")
    assert found.type is error


def test_a_connection_is_kept_for_the_next_body(server: BodyServer) -> None:
    """Where its body was read to the end; one that the server has ended is opened again."""
    connections: list[object] = []

    def two_answers(connection: socket.socket) -> None:
        connections.append(connection)
        for _ in range(2):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
            if not connection.recv(65_536):
                return

    server.answers["/a"] = two_answers

    # The third request is the one that the first connection has heard, and did not answer.
    assert [read(server.url, f"{server.url}/a") for _ in range(5)] == [b"abc"] * 5
    assert len(connections) == 3


def test_a_connection_with_an_unread_rest_is_not_kept(server: BodyServer) -> None:
    """The next answer would be read out of it."""
    server.answers["/a"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\nx")
    server.answers["/b"] = raw(b"HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nabc")
    server.answers["/c"] = whole(BODY)

    for name in ("a", "b"):
        with pytest.raises((BodyTooLargeError, BodyNotFoundError)):
            read(server.url, f"{server.url}/{name}")
    assert read(server.url, f"{server.url}/c") == BODY


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 T", "308 P"])
def test_no_redirect_is_followed(server: BodyServer, status: str) -> None:
    """Not even to an allowed URL: a store that redirects could be made to lead anywhere."""
    server.answers["/a"] = whole(b"", f"Location: {server.url}/b", status=status)
    server.answers["/b"] = whole(BODY)

    with pytest.raises(ReferenceRefusedError, match="redirects are not followed"):
        read(server.url, f"{server.url}/a")
    assert server.asked == ["/a"]


def test_an_endless_body_is_cut(server: BodyServer) -> None:
    """No more is held than is allowed, but for one piece."""
    server.answers["/a"] = server.endless
    counted: list[int] = []
    limits = ReadLimits(1_000_000, PATIENCE_SECONDS, counted.append)

    with pytest.raises(BodyTooLargeError):
        read(server.url, f"{server.url}/a", limits=limits)
    assert sum(counted) == limits.counted_bytes <= 1_000_000


@pytest.mark.parametrize("name", ["hang", "dripping"])
def test_a_slow_answer_ends_with_the_time_for_it(server: BodyServer, name: str) -> None:
    """Also where some byte comes all the time."""
    server.answers["/a"] = getattr(server, name)

    with pytest.raises(BodyStoreError):
        read(server.url, f"{server.url}/a", limits=ReadLimits(1_000_000, 0.1))


def test_an_abandoned_try_ends_what_it_waits_for(server: BodyServer) -> None:
    """Its thread comes back without the time limit being over."""
    begun = threading.Event()

    def hang(_: object) -> None:
        begun.set()
        server.stopping.wait()

    server.answers["/a"] = hang
    limits = ReadLimits(1000, 10 * PATIENCE_SECONDS)
    failed: list[Exception] = []

    def run() -> None:
        try:
            read(server.url, f"{server.url}/a", limits=limits)
        except BodyStoreError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(PATIENCE_SECONDS)
    limits.abandon()
    thread.join(PATIENCE_SECONDS)

    assert len(failed) == 1


def test_a_server_that_is_away_may_come_back() -> None:
    """A refused connection is the store's fault, not the record's."""
    with a_body_server() as server:
        url = server.url

    with pytest.raises(BodyStoreError):
        read(url, f"{url}/a")


def test_an_object_is_read_through_fsspec() -> None:
    """Its size first; an empty one too."""
    files = fsspec.filesystem("memory")
    files.pipe_file("/bodies/a b", BODY)
    files.pipe_file("/bodies/empty", b"")

    assert read("memory://bodies", "memory://bodies/a%20b") == BODY
    assert read("memory://bodies", "memory://bodies/empty") == b""
    for missing in ("memory://bodies/missing", "memory://bodies/a%20b/c"):
        with pytest.raises(BodyNotFoundError):
            read("memory://bodies", missing)


class Lying(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Says a size, and gives something else."""

    protocol = "lying"
    cachable = False
    size, content = 5, b"123"

    def info(self, path: str, **_: object) -> dict[str, object]:
        if path.endswith("boom"):
            raise RuntimeError("no such luck")
        return {"name": path, "size": self.size, "type": "file"}

    def cat_file(self, path: str, end: int = 0, **_: object) -> bytes:
        return (b"x" * 2000 if path.endswith("large") else self.content)[:end]


@pytest.mark.parametrize(
    ("name", "error"),
    [("short", BodyStoreError), ("large", BodyStoreError), ("boom", BodyStoreError)],
)
def test_what_a_file_system_says_is_not_relied_on(name: str, error: type[Exception]) -> None:
    """A size that is not true, and whatever its client raises."""
    fsspec.register_implementation("lying", Lying, clobber=True)

    with pytest.raises(error):
        read("lying://bodies", f"lying://bodies/{name}")


def test_a_file_system_that_is_not_there_is_told_at_the_start() -> None:
    """With what fsspec says to install."""
    with pytest.raises(BackendConfigError, match="nosuch"):
        BodyStores(["nosuch://bodies"]).prepare()


def test_a_hash_is_checked(tmp_path: Path) -> None:
    """The right one passes, another does not."""
    (tmp_path / "a").write_bytes(BODY)
    good, bad = hashlib.sha256(BODY).hexdigest(), hashlib.sha256(b"").hexdigest()

    assert read(f"file://{tmp_path}", f"file://{tmp_path}/a", good) == BODY
    with pytest.raises(BodyMismatchError, match=good):
        read(f"file://{tmp_path}", f"file://{tmp_path}/a", bad)


def test_fsspec_is_loaded_only_where_a_prefix_needs_it() -> None:
    """Neither by a worker that fetches nothing, nor by files and web servers."""
    program = (
        "import sys, topicserve.worker.service\n"
        "from topicserve.backends.references.stores import BodyStores\n"
        "BodyStores(['file:///var/bodies', 'https://host']).prepare()\n"
        "sys.exit('fsspec' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
