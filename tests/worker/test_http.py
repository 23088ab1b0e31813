import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from topicserve.worker.config import ConfigError, HttpConfig
from topicserve.worker.http import CONNECTION_SECONDS, MAX_CONNECTIONS, PageServer, open_server
from topicserve.worker.http_pages import Page

LIMIT_SECONDS = 10


class Answers:
    """Answers every path, or fails, or waits until it is let go."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.let_go = threading.Event()

    def get(self, path: str, accept: str) -> Page:
        if path == "/broken":
            raise ValueError("a secret")
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
    server: PageServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told the kind of the error alone, the log has its traceback."""
    status, body = request(server, "/broken")

    (line,) = [record for record in caplog.records if record.msg == "http_answer_failed"]
    assert line.exc_info is not None
    assert "a secret" in str(line.exc_info[1])

    assert (status, json.loads(body)) == (500, {"error": "ValueError; the log says more"})
    assert request(server, "/x")[0] == 200


def test_what_is_not_http_is_refused(server: PageServer) -> None:
    """Garbage ends that connection and no other."""
    with socket.create_connection(place(server), LIMIT_SECONDS) as raw:
        raw.sendall(b"\x16\x03\x01 hello you there\r\n\r\n")
        reply = raw.recv(4096)

    assert b"error" in reply
    assert request(server, "/x")[0] == 200


def test_too_many_connections_are_turned_away_at_once(server: PageServer, answers: Answers) -> None:
    """The threads are bounded; whoever comes when all are taken is asked to come again."""
    waiting = [connect(server) for _ in range(MAX_CONNECTIONS)]
    for connection in waiting:
        connection.request("GET", "/slow")
    for _ in waiting:
        assert answers.waiting.acquire(timeout=LIMIT_SECONDS)

    status, _ = request(server, "/x")

    assert status == 503
    answers.let_go.set()
    assert [connection.getresponse().status for connection in waiting] == [200] * MAX_CONNECTIONS


def test_a_connection_whose_time_is_over_is_cut_off(server: PageServer) -> None:
    """A client that sends a byte now and then does not hold a thread for ever."""
    with socket.create_connection(place(server), LIMIT_SECONDS) as raw:
        raw.sendall(b"GET /")
        # The server has taken the connection in once it answers one that came later.
        request(server, "/x")

        server.cut_off(time.monotonic() + CONNECTION_SECONDS + 1)

        assert raw.recv(1) == b""


def test_a_taken_port_is_an_error_that_names_it(server: PageServer, answers: Answers) -> None:
    """And says what to do."""
    port = server.server_address[1]

    with pytest.raises(ConfigError) as caught:
        open_server(HttpConfig(port=port), answers.get)

    assert str(caught.value) == (
        f"http.port: {port} is taken on 127.0.0.1; choose another one, or 0 for a free one"
    )


def test_an_address_of_another_machine_is_an_error_that_names_it(answers: Answers) -> None:
    """192.0.2.1 is documentation's, and nobody's."""
    with pytest.raises(ConfigError, match=r"^http\.host: cannot listen on '192\.0\.2\.1': "):
        open_server(HttpConfig(host="192.0.2.1"), answers.get)


def test_an_ipv6_address_is_printed_in_brackets(answers: Answers) -> None:
    """So that it can be opened as it is."""
    try:
        server = open_server(HttpConfig(host="::1"), answers.get)
    except ConfigError:
        pytest.skip("this machine has no IPv6")

    assert server.address == f"http://[::1]:{server.server_address[1]}"
    assert request(server, "/x")[0] == 200
    server.close()


def test_nothing_listens_after_close(answers: Answers) -> None:
    """The port is free for the next one."""
    server = open_server(HttpConfig(), answers.get)
    server.close()

    with pytest.raises(ConnectionRefusedError):
        request(server, "/x")
