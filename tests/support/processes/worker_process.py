"""`topicserve worker` as a process of its own."""

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes.child_process import ChildProcess
from tests.support.processes.toml import to_toml

START_LIMIT_SECONDS = 60.0
HTTP_LIMIT_SECONDS = 5.0
# SIGABRT then writes every thread's stack into the log.
_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONFAULTHANDLER": "1"}


def worker_command(config: Mapping[str, Any], path: Path, *flags: str) -> list[str]:
    """Write a worker's configuration file and return the command that runs on it."""
    path.write_text(to_toml(config))
    return [sys.executable, "-m", "topicserve", "worker", "--config", str(path), *flags]


class WorkerProcess(ChildProcess):
    """One worker; `start` returns at once, `wait_ready` when it answers on its HTTP port."""

    def __init__(self, config: Mapping[str, Any], directory: Path, worker_id: str) -> None:
        self.worker_id = worker_id
        self._address = ""
        command = worker_command(config, directory / f"{worker_id}.toml", "--worker-id", worker_id)
        super().__init__(command, directory / f"{worker_id}.log", _ENVIRONMENT)

    def wait_ready(self) -> None:
        """Wait for the line that the worker prints when it is ready to read records."""
        line = self.read_line(START_LIMIT_SECONDS)
        found = re.search(r"http://[^\s/]+:\d+", line)
        if found is None:
            raise AssertionError(f"no HTTP address in {line!r}\n{self.log_tail()}")
        self._address = found.group()

    @property
    def address(self) -> str:
        """Return its HTTP address, once it is ready."""
        return self._address

    def libraries(self) -> set[str]:
        """Return the paths of the files that are mapped into its memory."""
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        return {found.group() for found in re.finditer(r"/\S+", maps)}

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and body of one of its pages, whatever the status."""
        try:
            with urllib.request.urlopen(self._address + path, timeout=HTTP_LIMIT_SECONDS) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels, 0 where there is none."""
        _, text = self.get("/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
