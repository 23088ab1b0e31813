import gc
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.stages.examples import examples
from tests.support.stages.logged import Logged
from topicserve.worker.config.schema import ConfigError, HttpConfig
from topicserve.worker.http.page_threads import MAX_PAGES
from topicserve.worker.http.pages import Page
from topicserve.worker.http.server import (
    MAX_CONNECTIONS,
    MAX_REQUEST_BYTES,
    PageServer,
    open_server,
    parse_request,
)

LIMIT_SECONDS = 10


class Answers:
    """Answers every path, or fails, or waits until it is let go."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.let_go = threading.Event()

    def get(self, path: str, accept: str) -> Page:
        if path == "/broken":
            raise ValueError("a secret")
        if path == "/ending":
            raise SystemExit(3)
        if path == "/stopping":
            raise StopIteration
        if path == "/slow":
            self.waiting.release()
            self.let_go.wait(LIMIT_SECONDS)
        return Page(200, "text/plain", f"{path} {accept}".encode())


@pytest.fixture
def answers() -> Answers:
    """Return what the server asks for its pages."""
    return Answers()


@pytest.fixture
def server(answers: Answers) -> Iterator[PageServer]:
    """Serve on a free port while the test runs."""
    opened = open_server(HttpConfig(), answers.get)
    yield opened
    answers.let_go.set()
    opened.close()


def place(server: PageServer) -> tuple[str, int]:
    """Return host and port, as a client reads them from the address that is printed."""
    where = urlsplit(server.address)
    assert where.hostname is not None
    assert where.port is not None
    return where.hostname, where.port


def connect(server: PageServer) -> http.client.HTTPConnection:
    """Return a connection to a server."""
    return http.client.HTTPConnection(*place(server), timeout=LIMIT_SECONDS)


def request(server: PageServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Return status and body of one request."""
    connection = connect(server)
    connection.request(method, path, headers={"Accept": "a/b"})
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_path_is_answered_with_its_page(server: PageServer) -> None:
    """The Accept header goes along."""
    assert request(server, "/x?y") == (200, b"/x?y a/b")


def test_head_has_no_body(server: PageServer) -> None:
    """But the same headers."""
    assert request(server, "/x", "HEAD") == (200, b"")


def test_other_methods_are_refused_as_json(server: PageServer) -> None:
    """Nothing can be changed over HTTP."""
    status, body = request(server, "/x", "POST")

    assert status == 501
    assert json.loads(body) == {"error": "Unsupported method ('POST')"}


def test_a_page_that_fails_is_a_500_and_the_log_says_more(
    server: PageServer, caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """The client is told the kind of the error alone, the log has its traceback."""
    status, body = request(server, "/broken")

    (line,) = [record for record in caplog.records if record.msg == "http_answer_failed"]
    assert line.exc_info is not None
    assert "a secret" in str(line.exc_info[1])

    assert (status, json.loads(body)) == (500, {"error": "ValueError; the log says more"})
    assert request(server, "/x")[0] == 200
    assert logged("http_answer_failed") == [{"path": "/broken"}]
    assert logged("http_request") == [
        {"path": "/broken", "status": 500},
        {"path": "/x", "status": 200},
    ]


@pytest.mark.parametrize("path", ["/ending", "/stopping"])
def test_a_page_that_raises_anything_ends_no_thread(
    path: str, server: PageServer, caplog: pytest.LogCaptureFixture
) -> None:
    """However often: a kind's signatures are on a page, and may raise what they like."""
    answers = [request(server, path) for _ in range(MAX_PAGES + 1)]

    assert {(status, json.loads(body)["error"]) for status, body in answers} == {
        (500, "RuntimeError; the log says more")
    }
    assert request(server, "/x")[0] == 200
    lines = [one for one in caplog.records if one.msg == "http_answer_failed"]
    assert all(one.exc_info and one.exc_info[1] and one.exc_info[1].__cause__ for one in lines)


def test_what_is_not_http_is_refused(server: PageServer) -> None:
    """Garbage ends that connection and no other."""
    with socket.create_connection(place(server), LIMIT_SECONDS) as raw:
        raw.sendall(b"\x16\x03\x01 hello you there\r\n\r\n")
        reply = raw.recv(4096)

    assert b"error" in reply
    assert request(server, "/x")[0] == 200


def test_too_many_pages_are_turned_away_and_health_is_answered(
    server: PageServer, answers: Answers
) -> None:
    """Pages that hang take a few threads, and none of those that say whether the worker lives."""
    waiting = [connect(server) for _ in range(MAX_PAGES)]
    for connection in waiting:
        connection.request("GET", "/slow")
    for _ in range(4):  # as many are made at the same time
        assert answers.waiting.acquire(timeout=LIMIT_SECONDS)

    assert until_refused(server) == 503
    assert request(server, "/livez")[0] == 200
    assert request(server, "/readyz?verbose")[0] == 200

    answers.let_go.set()
    assert [connection.getresponse().status for connection in waiting] == [200] * MAX_PAGES


def until_refused(server: PageServer) -> int:
    """Return the first status that is not 200: the requests before may not all be read yet."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        with suppress(TimeoutError), closing(connect(server)) as connection:
            connection.timeout = 0.2
            connection.request("GET", "/x")
            return connection.getresponse().status
    return 0


@pytest.mark.parametrize("count", [16, MAX_CONNECTIONS, 2 * MAX_CONNECTIONS])
def test_slow_clients_keep_no_one_from_being_answered(server: PageServer, count: int) -> None:
    """Whether they send half a request or never read: the oldest one makes room."""
    with ExitStack() as opened:
        for number in range(count):
            slow = opened.enter_context(socket.create_connection(place(server), LIMIT_SECONDS))
            slow.sendall(b"GET /livez HTTP/1.1\r\nX: " if number % 2 else b"")

        assert request(server, "/livez")[0] == 200
        assert request(server, "/x")[0] == 200


def test_a_connection_whose_time_is_over_is_closed(answers: Answers) -> None:
    """Also one that sends a byte now and then."""
    server = open_server(HttpConfig(), answers.get, connection_seconds=0.05)

    with closing(server), socket.create_connection(place(server), LIMIT_SECONDS) as raw:
        raw.sendall(b"GET /")

        assert raw.recv(1) == b""


def test_a_client_that_does_not_read_is_cut_off() -> None:
    """Its answer takes memory until then, and no thread."""
    size = 32 * 1024 * 1024
    huge = Page(200, "text/plain", bytes(size))
    server = open_server(HttpConfig(), lambda *_: huge, connection_seconds=0.2)

    with closing(server), socket.create_connection(place(server), LIMIT_SECONDS) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with socket.create_connection(place(server), LIMIT_SECONDS) as later:
            assert later.recv(1) == b""  # so the first one's time is over, too

        assert 0 < count_bytes(raw) < size


def count_bytes(raw: socket.socket) -> int:
    """Return how much comes until the end."""
    count = 0
    with suppress(ConnectionResetError):
        while chunk := raw.recv(1 << 20):
            count += len(chunk)
    return count


def test_headers_without_end_are_refused(server: PageServer) -> None:
    """A request has a size."""
    with socket.create_connection(place(server), LIMIT_SECONDS) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * MAX_REQUEST_BYTES)

        assert raw.recv(4096).startswith(b"HTTP/1.1 431 ")


@given(st.binary(max_size=200))
@settings(max_examples=examples(200))
def test_any_bytes_are_a_request_or_none(head: bytes) -> None:
    """Nothing that a client sends raises."""
    found = parse_request(head + b"\r\n\r\n")

    assert found is None or found.method


def test_a_taken_port_is_an_error_that_names_it(server: PageServer, answers: Answers) -> None:
    """And says what to do."""
    port = server.port

    with pytest.raises(ConfigError) as caught:
        open_server(HttpConfig(port=port), answers.get)

    assert str(caught.value) == (
        f"http.port: {port} is taken on 127.0.0.1; choose another one, or 0 for a free one"
    )


def test_an_address_of_another_machine_is_an_error_that_names_it(answers: Answers) -> None:
    """192.0.2.1 is documentation's, and no one's."""
    with pytest.raises(ConfigError, match=r"^http\.host: cannot listen on '192\.0\.2\.1': "):
        open_server(HttpConfig(host="192.0.2.1"), answers.get)


def test_an_ipv6_address_is_printed_in_brackets(answers: Answers) -> None:
    """So that it can be opened as it is."""
    try:
        server = open_server(HttpConfig(host="::1"), answers.get)
    except ConfigError:
        pytest.skip("this machine has no IPv6")

    assert server.address == f"http://[::1]:{server.port}"
    assert request(server, "/x")[0] == 200
    server.close()


def test_nothing_listens_after_close(answers: Answers) -> None:
    """The port is free for the next one."""
    server = open_server(HttpConfig(), answers.get)
    server.close()

    with pytest.raises(ConnectionRefusedError):
        request(server, "/x")


def test_a_request_leaves_no_garbage(server: PageServer) -> None:
    """A worker's collector comes by once in half a million objects, and then all is in memory."""

    def ask(text: bytes) -> None:
        with closing(socket.create_connection(place(server), LIMIT_SECONDS)) as connection:
            connection.sendall(text)
            while connection.recv(65_536):
                pass

    texts = (b"GET /path HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\nbody", b"no request\r\n\r\n")
    for text in texts:
        ask(text)
    gc.collect()
    gc.disable()
    try:
        for text in texts * 30:
            ask(text)
        garbage = gc.collect()
    finally:
        gc.enable()

    assert garbage < 30, "less than one object for three requests"


def test_connections_that_come_at_once_are_all_answered_or_make_room(server: PageServer) -> None:
    """Also those that are waiting when the server comes to accept them."""
    with ExitStack() as opened:
        silent = [
            opened.enter_context(closing(socket.create_connection(place(server), LIMIT_SECONDS)))
            for _ in range(MAX_CONNECTIONS + 20)
        ]

        assert request(server, "/after")[0] == 200
        for connection in silent[:10]:
            assert connection.recv(1) == b"", "closed to make room"
