"""Shows a status once, or again and again."""

import argparse
import time
from collections.abc import Callable
from contextlib import closing

from rich.console import Console
from rich.live import Live

from topicserve.backends.broker import OffsetsAdmin
from topicserve.backends.errors import BackendError, BackendUnavailableError
from topicserve.cli.errors import UsageError
from topicserve.cli.standard_streams import need_output
from topicserve.cli.status.flags import Deployment, deployment_of
from topicserve.cli.status.recent import Recent, read_recent
from topicserve.cli.status.sample import Sample, take_sample
from topicserve.cli.status.screen import open_console, rendered
from topicserve.cli.status.status import Status
from topicserve.cli.status.workers import ask_workers
from topicserve.cli.terminal import say, write_json
from topicserve.exit_codes import EXIT_FAILED, EXIT_OK

# Topics are read through a group, which takes brokers some seconds to form.
RECENT_SECONDS = 15.0


def run(arguments: argparse.Namespace) -> int:
    """Show it; once, the exit code is 1 where something is waited for.

    With --watch until Ctrl-C, whatever is found; a broker that is away is told and asked again.
    """
    need_output()
    deployment = deployment_of(arguments)
    with closing(deployment.broker().admin()) as admin:
        looks = Looks(admin, deployment, arguments.interval_seconds)
        first = _first(looks, deployment)
        if not arguments.watch:
            looks.wait()
            status = looks.look(first)
            _show(arguments, open_console(), status)
            return EXIT_FAILED if status.waiting_for else EXIT_OK
        _watch(arguments, looks, first)
    return 0


class Looks:
    """Takes one look after the other; rates are those since the last.

    The broker is asked at each look, the topics' ends every 15 seconds only. One thread uses it.
    """

    def __init__(
        self,
        admin: OffsetsAdmin,
        deployment: Deployment,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._admin = admin
        self._deployment = deployment
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._sleep = sleep
        self._recent = Recent()
        self._recent_at: float | None = None

    def sample(self) -> Sample:
        """Ask the broker."""
        return take_sample(self._admin, self._deployment, self._clock)

    def look(self, before: Sample) -> Status:
        """Return the status of now."""
        sample = self.sample()
        if self._recent_at is None or self._clock() - self._recent_at >= RECENT_SECONDS:
            self._recent = read_recent(
                self._admin, self._deployment, sample.dead_letters, sample.output
            )
            self._recent_at = self._clock()
        workers = ask_workers(self._deployment.workers)
        return Status(self._deployment, sample, before, workers, self._recent)

    def wait(self) -> None:
        """Wait until it is time for the next look."""
        self._sleep(self._interval_seconds)


def _first(looks: Looks, deployment: Deployment) -> Sample:
    try:
        return looks.sample()
    except BackendUnavailableError as error:
        raise UsageError(
            f"--bootstrap-servers: no broker answers at {deployment.bootstrap_servers} ({error})"
        ) from error


def _watch(arguments: argparse.Namespace, looks: Looks, first: Sample) -> None:
    """Look until Ctrl-C: in place on a terminal, one look below the other elsewhere."""
    console = open_console()
    if arguments.json or not console.is_terminal:
        _repeat(looks, first, lambda status: _show(arguments, console, status))
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        _repeat(looks, first, lambda status: live.update(rendered(status), refresh=True))


def _repeat(looks: Looks, before: Sample, show: Callable[[Status], None]) -> None:
    """Show one look after the other. A broker that is away is told, and asked again."""
    while True:
        looks.wait()
        try:
            status = looks.look(before)
        except BackendError as error:
            say(f"topicserve: {error}")
            continue
        before = status.sample
        show(status)


def _show(arguments: argparse.Namespace, console: Console, status: Status) -> None:
    if arguments.json:
        write_json(status.content(), flush=True)
    else:
        console.print(rendered(status))
