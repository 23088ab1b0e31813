"""The demo's worker processes."""

import json
import os
import signal
import subprocess
import sys
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from topicserve.demo.errors import DemoError

STOP_SECONDS = 15.0
_HTTP_SECONDS = 5.0


class WorkerProcess:
    """`topicserve worker` in a process of its own, which ends when this one does.

    What it logs goes to `log_path`.
    """

    def __init__(self, config_path: Path, worker_id: str, log_path: Path) -> None:
        self.worker_id = worker_id
        self._log_path = log_path
        self._command = [sys.executable, "-m", "topicserve", "worker", f"--config={config_path}"]
        # Supervised: it ends with its standard input, so also when this process is killed.
        self._command += [f"--worker-id={worker_id}", "--supervised"]
        self._address = ""  # set once, by the thread that waits for it
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns before it is ready."""
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A Ctrl-C at the terminal is for the demo, which then stops its workers.
                start_new_session=True,
            )
        threading.Thread(target=self._read_address, daemon=True).start()

    @property
    def ready(self) -> bool:
        """Tell whether it has joined the group and loaded every servable, by its /readyz."""
        return bool(self._address) and self._get("/readyz")[0] == HTTPStatus.OK

    @property
    def status_page(self) -> str:
        """Return where its status page is, once it is ready."""
        return f"{self._address}/"

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, None while it runs."""
        return None if self._process is None else self._process.poll()

    def check(self) -> None:
        """Raise DemoError if it has ended by itself."""
        if self.exit_code is not None:
            raise DemoError(
                f"{self.worker_id} ended with exit code {self.exit_code}: {self._last_word()} "
                f"(see {self._log_path})"
            )

    def serves(self, servable: str, version: int) -> bool:
        """Tell whether TF Serving's status of this version is AVAILABLE."""
        code, status = self._get(f"/v1/models/{servable}")
        return code == HTTPStatus.OK and any(
            one["version"] == str(version) and one["state"] == "AVAILABLE"
            for one in status["model_version_status"]
        )

    def kill(self) -> None:
        """End it at once with SIGKILL, as a failing machine would."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def terminate(self) -> None:
        """Ask it to finish what it has and end."""
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait for its end, and kill it when that takes too long."""
        try:
            if self._process is not None:
                self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _get(self, path: str) -> tuple[int, Any]:
        """Return the answer's code, and its JSON content where that is 200."""
        try:
            with urlopen(self._address + path, timeout=_HTTP_SECONDS) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, None

    def _read_address(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._address = self._process.stdout.readline().decode(errors="replace").strip()

    def _last_word(self) -> str:
        """Return the last error that it logged, or else its last line."""
        lines = self._log_path.read_text(errors="replace").splitlines()
        errors = [line for line in lines if " ERROR " in line]
        return (errors or lines or ["it said nothing"])[-1]
