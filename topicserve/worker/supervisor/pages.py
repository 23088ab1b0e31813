"""One HTTP address for all replicas of a supervisor.

Each replica has its own server on loopback, and is asked when someone asks here. Prometheus'
multiprocess mode would be the other way: it writes every count through a memory-mapped file, knows
no collectors of one's own and no process metrics, and keeps the files of replicas that died.
"""

import json
import math
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics import parser
from prometheus_client.registry import Collector

from topicserve.worker.http.pages import Page, error_page
from topicserve.worker.supervisor.status import TogetherStatus
from topicserve.worker.telemetry.supervisor_metrics import SupervisorMetrics

FETCH_SECONDS = 2.0
MAX_FETCHES = 8
MAX_PAGE_BYTES = 16 * 1024 * 1024
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Fetched(NamedTuple):
    """What a replica answered; `status` 0 and no body where it did not."""

    status: int
    content_type: str = ""
    body: bytes = b""


Fetch = Callable[[str], Fetched]

# The library does not say so, but that is what it takes and gives.
_parse: Callable[[str], Iterable[Metric]] = parser.text_string_to_metric_families


def fetch(url: str) -> Fetched:
    """Return what a replica answers within FETCH_SECONDS; an error status is an answer too.

    A user and a password in the URL are sent as HTTP basic authentication, for a proxy before it.
    """
    try:
        request = _request(url)
        with urllib.request.urlopen(request, timeout=FETCH_SECONDS) as answer:
            content_type = answer.headers.get("Content-Type", "")
            return Fetched(answer.status, content_type, answer.read(MAX_PAGE_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            content_type = error.headers.get("Content-Type", "")
            return Fetched(error.code, content_type, error.read(MAX_PAGE_BYTES))
    except (OSError, ValueError):  # refused, timed out, or no address yet
        return Fetched(0)


def _request(url: str) -> urllib.request.Request:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    headers = {"Accept": _OPENMETRICS}
    if at:
        login = b64encode(unquote_to_bytes(user)).decode()
        headers["Authorization"] = f"Basic {login}"
    return urllib.request.Request(parts._replace(netloc=host).geturl(), headers=headers)


class Replicas:
    """Asks the replicas of all slots at once. Any thread may call it."""

    def __init__(self, addresses: Callable[[], Sequence[str]], fetch: Fetch = fetch) -> None:
        self.addresses = addresses
        self._fetch = fetch

    def ask_all(self, path: str) -> list[Fetched]:
        """Return each slot's answer, in the order of the slots."""
        addresses = self.addresses()
        with ThreadPoolExecutor(min(len(addresses), MAX_FETCHES)) as pool:
            return list(pool.map(lambda address: self._ask(address, path), addresses))

    def ask_first(self, path: str) -> Fetched:
        """Return the answer of the first slot that gives one."""
        answers = (self._ask(address, path) for address in self.addresses())
        return next((answer for answer in answers if answer.status), Fetched(0))

    def _ask(self, address: str, path: str) -> Fetched:
        return self._fetch(address + path) if address else Fetched(0)


class ReplicaCollector(Collector):
    """Every replica's metrics, each sample with the label `replica`."""

    def __init__(self, replicas: Replicas, metrics: SupervisorMetrics) -> None:
        self._replicas = replicas
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry would otherwise ask the replicas when this is registered."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Ask the replicas, and put each metric's samples together."""
        merged: dict[str, Metric] = {}
        for number, answer in enumerate(self._replicas.ask_all("/metrics")):
            families = _families(answer)
            self._metrics.replica_up.labels(str(number)).set(bool(families))
            for family in families:
                whole = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                whole.samples += [
                    sample._replace(labels={**sample.labels, "replica": str(number)})
                    for sample in family.samples
                ]
        return [*merged.values(), *self._metrics.replica_up.collect()]


def _families(answer: Fetched) -> list[Metric]:
    if answer.status != 200:
        return []
    try:
        return list(_parse(answer.body.decode()))
    except ValueError:  # cut short: the replica ended while it answered
        return []


class SilentSeconds:
    """For how long each replica has not answered: since it was asked first, at most."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # When each address answered last, or was first asked. Any thread may set an entry.
        self._answered_at: dict[str, float] = {}

    def after(self, addresses: Sequence[str], answered: Sequence[bool]) -> list[float]:
        """Return the seconds of each slot, now that its replica has answered or not."""
        now = self._clock()
        for address in self._answered_at.keys() - set(addresses):
            self._answered_at.pop(address, None)
        for address, has_answered in zip(addresses, answered, strict=True):
            # A slot without an address, whose replica ended or starts, is the supervisor's.
            if has_answered or not address:
                self._answered_at[address] = now
        return [now - self._answered_at.setdefault(address, now) for address in addresses]


class SupervisorPages:
    """Answers a path for all replicas together. Any thread may call it."""

    def __init__(
        self,
        registry: CollectorRegistry,
        replicas: Replicas,
        silent_limit_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Make pages; `told` says of each slot's replica why it cannot be asked, if it cannot."""
        self._registry = registry
        self._replicas = replicas
        self._told = told
        self._silent_limit_seconds = silent_limit_seconds
        self._silent = SilentSeconds(clock)

    def get(self, path: str, accept: str = "") -> Page:
        """Return the answer to GET; `accept` is the header that chooses the metrics' format."""
        path, _, query = path.partition("?")
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return Page(200, content_type, encode(self._registry))
        if path in ("/livez", "/readyz"):
            return self._health(path)
        if path in ("/", "/status.json"):
            answers = self._replicas.ask_all("/status.json")
            together = TogetherStatus.of(answers, self._told())
            return together.html(query) if path == "/" else together.json()
        # All replicas serve the same: whichever answers speaks for all.
        answer = self._replicas.ask_first(path)
        if answer.status:
            return Page(*answer)
        return error_page(503, "no replica answers")

    def _health(self, path: str) -> Page:
        """Put all replicas' problems together.

        A replica that does not answer is not ready, but no reason to start the supervisor again,
        which is about to start the replica again. One that should have ended itself long ago is.
        """
        problems = []
        addresses = self._replicas.addresses()
        answers = self._replicas.ask_all(path)
        silent = self._silent.after(addresses, [bool(answer.status) for answer in answers])
        told = dict(enumerate(self._told()))
        for number, answer in enumerate(answers):
            if answer.status:
                problems += [f"replica {number}: {problem}" for problem in _problems(answer)]
            elif path == "/readyz":
                problems.append(f"replica {number}: {told.get(number) or 'does not answer'}")
            if path == "/livez" and silent[number] > self._silent_limit_seconds:
                problems.append(
                    f"replica {number}: has not answered for {silent[number]:.0f} seconds"
                )
        content: Mapping[str, object] = {"ok": not problems, "problems": problems}
        return Page(503 if problems else 200, "application/json", json.dumps(content).encode())


def _problems(answer: Fetched) -> list[str]:
    try:
        return [str(problem) for problem in json.loads(answer.body)["problems"]]
    except (ValueError, KeyError, TypeError):
        return [f"answers {answer.status}"]
