import orjson
import pytest

from topicserve.cli.status.workers import ReportedWorker, ask_workers
from topicserve.cli.terminal import say
from topicserve.worker.supervisor.pages import Fetched

STATUS = {"model_version_status": [{"version": "7", "state": "AVAILABLE"}]}
PAGES = {
    "http://a/readyz": (503, {"ok": False, "problems": ["the store is away"]}),
    "http://a/v1/models": (200, {"models": {"digits": STATUS}}),
}


def a_page(url: str) -> Fetched:
    """Answer as a worker at http://a does; no one else answers."""
    status, content = PAGES.get(url, (0, {}))
    return Fetched(status, "application/json", orjson.dumps(content))


def test_a_worker_says_what_it_serves_and_what_is_missing() -> None:
    """In its own words."""
    (found,) = ask_workers(["http://a"], a_page)

    assert found == ReportedWorker(
        "http://a", True, ("the store is away",), {"digits": {"7": "AVAILABLE"}}
    )


def test_a_worker_that_does_not_answer_says_so() -> None:
    """The others are asked all the same."""
    first, second = ask_workers(["http://b", "http://a"], a_page)

    assert first == ReportedWorker("http://b", answers=False, problems=("does not answer",))
    assert second.answers


@pytest.mark.parametrize("url", ["http://user:s3cret@a", "http://user:s3cret@b"])
def test_a_password_is_sent_and_not_shown(url: str) -> None:
    """Neither as text nor as JSON, whether the worker answers or not."""
    asked: list[str] = []

    def page(url: str) -> Fetched:
        asked.append(url)
        return a_page(url.replace("user:s3cret@", ""))

    (found,) = ask_workers([url], page)

    assert asked[0] == f"{url}/readyz"
    assert found.url == url.replace("user:s3cret", "***")
    assert "s3cret" not in f"{found} {found.content()}"


def test_what_is_said_has_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever command says it, of whichever URL."""
    say("http://user:s3cret@host: is away; redis://:s3cret@h/1")

    assert capsys.readouterr().err == "http://***@host: is away; redis://***@h/1\n"


def test_pages_of_another_program_say_nothing() -> None:
    """Whatever listens at that address."""
    (found,) = ask_workers(["http://a"], lambda _: Fetched(200, "text/html", b"<html>"))

    assert found == ReportedWorker("http://a", True, (), {})
    assert ask_workers([], a_page) == []
