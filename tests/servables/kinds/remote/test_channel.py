"""The connection to remote servers is quiet: the worker's log has its own lines alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[4]
SHOW = "import os, topicserve.servables.kinds.remote.channel; print(os.environ['GRPC_VERBOSITY'])"


@pytest.mark.parametrize(("given", "found"), [(None, "ERROR"), ("DEBUG", "DEBUG")])
def test_grpc_logs_errors_alone_unless_the_environment_asks_for_more(
    given: str | None, found: str
) -> None:
    """It reads the variable when it is imported."""
    environment = {name: text for name, text in os.environ.items() if name != "GRPC_VERBOSITY"}
    if given is not None:
        environment["GRPC_VERBOSITY"] = given

    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=CHECKOUT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=150,
    )

    assert done.stdout.strip() == found
