"""Prometheus itself, scraping one target every second, with the alerts' times cut to seconds."""

import json
import re
import socket
import urllib.request
from pathlib import Path

from tests.support.processes.child_process import ChildProcess
from tests.support.processes.programs import need_program
from tools.reference_pages import CHECKOUT

ALERTS = CHECKOUT / "deploy/prometheus/alerts.yml"
HTTP_LIMIT_SECONDS = 5.0


class PrometheusServer(ChildProcess):
    """Scrapes a worker's address (host:port)."""

    def __init__(self, target: str, directory: Path) -> None:
        # A minute of the rules is two seconds here.
        rules = re.sub(r"\b(\d+)m\b", lambda found: f"{2 * int(found[1])}s", ALERTS.read_text())
        (directory / "alerts.yml").write_text(rules)
        config = directory / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            "rule_files: [alerts.yml]\n"
            "scrape_configs:\n"
            f"  - {{job_name: topicserve, static_configs: [{{targets: ['{target}']}}]}}\n"
        )
        self._address = f"127.0.0.1:{_free_port()}"
        super().__init__(
            [
                need_program("prometheus", "prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self._address}",
            ],
            directory / "prometheus.log",
        )

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire; none while the server starts."""
        try:
            url = f"http://{self._address}/api/v1/alerts"
            with urllib.request.urlopen(url, timeout=HTTP_LIMIT_SECONDS) as answer:
                alerts = json.load(answer)["data"]["alerts"]
        except OSError:
            return set()
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def has_scraped(self) -> bool:
        """Return whether the target has answered."""
        try:
            url = f"http://{self._address}/api/v1/query?query=up==1"
            with urllib.request.urlopen(url, timeout=HTTP_LIMIT_SECONDS) as answer:
                return bool(json.load(answer)["data"]["result"])
        except OSError:
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
