"""The status page in a real browser: headless Chromium, from the server that workers have."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.processes.programs import need_program
from tests.support.stages.status import a_point, a_status
from topicserve.worker.config.schema import HttpConfig
from topicserve.worker.http.pages import Page, error_page
from topicserve.worker.http.server import PageServer, open_server
from topicserve.worker.status.page import status_page

LIMIT_SECONDS = 60.0
PHONES_PIXELS = (320, 360)
LONG = "x" * 300
STATUS = a_status(
    history=[a_point(5.0 * at, results_per_second=at, p50_seconds=0.01) for at in range(120)],
    servables=[
        {
            "name": LONG,
            "default_version": 7,
            "problem": LONG,
            "labels": {LONG: 7},
            "canary": {"share": 0.1, "version": None, "label": LONG},
            "shadow": None,
            "versions": [
                {
                    "version": 7,
                    "state": "AVAILABLE",
                    "age_seconds": 3.0,
                    "load_seconds": 0.5,
                    "error": LONG,
                }
            ],
        }
    ],
    configuration={"kafka.bootstrap_servers": LONG},
)
PAGE = status_page("Keeping up.", "keeping_up", {LONG: STATUS}, refreshes=False)
# The page in a frame as wide as a phone; it is measured once it has been laid out.
FRAME = """<!DOCTYPE html><title>not measured</title>
<iframe src="/" width="{}" height="800" onload="
  const page = this.contentDocument.documentElement;
  document.title = page.scrollWidth + ' of ' + page.clientWidth;"></iframe>"""


@pytest.fixture
def server() -> Iterator[PageServer]:
    """Serve the page as workers do, without its policy, in a frame, and with another's policy."""
    others_policy = (("Content-Security-Policy", "default-src 'none'; style-src 'sha256-AAAA'"),)
    pages: Mapping[str, Page] = {
        "/page": PAGE,
        "/": PAGE._replace(headers=()),
        **{
            f"/{pixels}": Page(200, "text/html; charset=utf-8", FRAME.format(pixels).encode())
            for pixels in PHONES_PIXELS
        },
        "/wrong-policy": PAGE._replace(headers=others_policy),
    }
    opened = open_server(HttpConfig(), lambda path, _: pages.get(path) or error_page(404, path))
    yield opened
    opened.close()


def browse(url: str, profile: Path) -> tuple[str, list[str]]:
    """Return what a browser makes of a page, and what it says on its console."""
    program = need_program("chromium", "chromium")
    done = subprocess.run(
        [
            *(program, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--enable-logging=stderr", f"--user-data-dir={profile}", url),
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_has_nothing_to_complain_of(server: PageServer, tmp_path: Path) -> None:
    """Its policy lets the style sheet pass: a browser says so where another's does not."""
    shown, said = browse(f"{server.address}/page", tmp_path)
    _, said_of_another = browse(f"{server.address}/wrong-policy", tmp_path)

    assert "Keeping up." in shown
    assert said == []
    assert len(said_of_another) == 1
    assert "Content Security Policy" in said_of_another[0]


@pytest.mark.parametrize("pixels", PHONES_PIXELS)
def test_the_page_fits_a_phone(pixels: int, server: PageServer, tmp_path: Path) -> None:
    """Whatever long words others chose: nothing is wider than the screen."""
    shown, _ = browse(f"{server.address}/{pixels}", tmp_path)

    measured = re.search(r"<title>(\d+) of (\d+)</title>", shown)

    assert measured is not None, shown
    width, screen = map(int, measured.groups())
    assert width <= screen <= pixels
