import io
import sys

import pytest

from tests.support.stages.logged import Logged
from topicserve.cli.worker import startup


def test_the_line_that_says_ready_is_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    """So that a program that started the worker can read it."""
    startup.announce("http://127.0.0.1:8080")
    startup.announce("")

    assert capsys.readouterr().out == "http://127.0.0.1:8080\nready, without HTTP\n"


def test_an_address_that_cannot_be_printed_is_logged(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker serves all the same, and its log has the address."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    sys.stdout.close()
    monkeypatch.setattr(startup, "drop_output", lambda: None)

    startup.announce("http://127.0.0.1:8080")

    assert logged("address_not_printed") == [
        {"address": "http://127.0.0.1:8080", "problem": "I/O operation on closed file"}
    ]
