import os
import subprocess
import sys
from collections.abc import Callable

import pytest

LIMIT_SECONDS = 60
RESERVES = """
import os, socket, sys
from topicserve.cli.standard_streams import reserve
reserve()
assert socket.socket().fileno() > 2
print("dropped", file=sys.stderr)
sys.exit(0 if sys.stdin is None and sys.stdout is None else 1)
"""
WRITES = """
import sys
from types import SimpleNamespace
from topicserve.cli import commands as cli
from topicserve.cli.standard_streams import write_output
cli.import_module = lambda _: SimpleNamespace(
    add_arguments=lambda p: None, run=lambda _: write_output(b"line", flush=True)
)
sys.exit(cli.run_command("results", ["results"]))
"""

ANNOUNCES = """
from topicserve.cli.worker.startup import announce
announce("http://127.0.0.1:8080")
"""


def closing(*descriptors: int) -> Callable[[], None]:
    """Return what closes these in a child before its program begins."""

    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return close


def test_closed_descriptors_are_taken_before_a_socket_gets_them() -> None:
    """A library that writes to standard error must not write to a broker."""
    done = subprocess.run(
        [sys.executable, "-c", RESERVES],
        preexec_fn=closing(0, 1, 2),
        timeout=LIMIT_SECONDS,
        check=False,
    )

    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "closed", "line"),
    [
        (("publish", "-", "--topic", "t"), 0, b"-: standard input is closed; give a file"),
        (("results", "--topic", "t"), 1, b"standard output is closed, so nothing can be printed"),
    ],
)
def test_a_command_says_that_it_needs_what_is_closed(
    words: tuple[str, ...], closed: int, line: bytes
) -> None:
    """Rather than publish nothing, or print results to nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "topicserve", *words],
        preexec_fn=closing(closed),
        stderr=subprocess.PIPE,
        timeout=LIMIT_SECONDS,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith(b"topicserve: " + line)
    assert done.stderr.count(b"\n") == 1


def test_a_command_whose_standard_error_is_closed_does_not_print_errors_as_results() -> None:
    """What went wrong is in the exit code alone."""
    done = subprocess.run(
        [sys.executable, "-m", "topicserve", "publish", "/nowhere", "--topic", "t"],
        preexec_fn=closing(2),
        stdout=subprocess.PIPE,
        timeout=LIMIT_SECONDS,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        (WRITES, 2, b"topicserve: standard output: No space left on device\n"),
        (ANNOUNCES, 0, b"address_not_printed\n"),
    ],
    ids=["results", "worker"],
)
def test_a_full_disk_is_one_line(code: str, exit_code: int, said: bytes) -> None:
    """A worker serves on; and the exit does not write once more what could not be written."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    assert (done.returncode, done.stderr) == (exit_code, said)


@pytest.mark.parametrize(
    ("words", "unbuffered"), [(("--version",), ""), (("--version",), "1"), (("publish", "-h"), "")]
)
def test_a_help_text_that_cannot_be_printed_is_an_error(
    words: tuple[str, ...], unbuffered: str
) -> None:
    """On a full disk, say; argparse alone would end with 0."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "topicserve", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            timeout=LIMIT_SECONDS,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr == b"topicserve: standard output: No space left on device\n"
