import sys
import time
from pathlib import Path

import pytest

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.leaving import FROZEN_SECONDS
from tests.support.kafka.port import LIMIT_SECONDS
from tests.support.processes.child_process import ChildProcess
from tests.support.processes.scale import CHAOS

# `make chaos` leaves 2,000 times: the process was seen to freeze once in some 1,000.
PROCESSES, GROUPS, ROUNDS = (4, 4, 125) if CHAOS else (1, 2, 3)
SHOWN_ROUNDS = 5
# A process that froze has ended itself by then, which tells where.
ROUND_SECONDS = FROZEN_SECONDS + LIMIT_SECONDS


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("broker_name", ["embedded"], indirect=True)
@pytest.mark.parametrize("client", ["confluent"])
def test_members_leave_under_load_again_and_again(
    server: Server, client: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With records coming and another member there: each close takes part in a rebalance first."""
    program = [sys.executable, "-m", "tests.support.kafka.leaving"]
    arguments = [server.bootstrap_servers, str(GROUPS), str(ROUNDS)]
    processes = [
        ChildProcess([*program, *arguments], tmp_path / f"{client}-{number}.log")
        for number in range(PROCESSES)
    ]
    started, slowest = time.monotonic(), 0.0
    try:
        for process in processes:
            process.start()
        for number in range(1, ROUNDS + 1):
            lines = [process.read_line(ROUND_SECONDS).split() for process in processes]
            slowest = max(slowest, *(float(seconds) for seconds, _ in lines))
            assert [left for _, left in lines] == ["0"] * PROCESSES, "`close` had to call back"
            if CHAOS and number % SHOWN_ROUNDS == 0:
                leaves, seconds = number * PROCESSES * GROUPS, time.monotonic() - started
                with capsys.disabled():
                    print(
                        f"{leaves} leaves in {seconds:.0f} s, slowest {slowest:.2f} s", flush=True
                    )
        assert [process.wait(ROUND_SECONDS) for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            process.kill()

    # One that is not over by then gives up leaving.
    assert slowest < LIMIT_SECONDS
