"""What the worker answers over HTTP: metrics, health, and TF Serving's model status.

It makes pages of what it asks and knows nothing of sockets; `server.py` is the other half, for a
supervisor's pages, too.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from topicserve.servables.core.errors import ServableError

_MODEL = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d{1,19})|/labels/([^/:]+))?(/metadata)?", re.ASCII
)
# TF Serving's, for the codes that asking for a status can end in.
_HTTP_STATUS = {"NOT_FOUND": 404, "INVALID_ARGUMENT": 400, "UNAVAILABLE": 503}
HEALTH_PATHS = ("/livez", "/readyz")
_PATHS = ("/", "/status.json", "/metrics", "/livez", "/readyz", "/v1/models")


class Health(Protocol):
    """Says in words what is wrong with the worker. Any thread may call it; it answers at once."""

    def live(self) -> Sequence[str]:
        """Return why the worker should be started again; nothing means that it is alive."""

    def ready(self) -> Sequence[str]:
        """Return what is missing before records can be served."""


class ServableStatus(Protocol):
    """Says in which state servables are. Any thread may call it; it answers at once."""

    def servable_names(self) -> Iterable[str]:
        """Return the names of what is served."""

    def model_status(self, name: str) -> Mapping[str, Any]:
        """Return TF Serving's GetModelStatusResponse as JSON, or raise NotFoundError."""

    def model_metadata(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Mapping[str, Any]:
        """Return TF Serving's GetModelMetadataResponse as JSON.

        NotFoundError where the version is not available, InvalidArgumentError for a label that is
        not known.
        """

    def labels(self, name: str) -> Mapping[str, int]:
        """Return a servable's labels and the versions that they stand for."""


class Page(NamedTuple):
    """One answer; `headers` come beside those of its type and length."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class StatusPages(Protocol):
    """Shows how the worker is doing. Any thread may call it; it answers at once."""

    def html(self, query: str) -> Page:
        """Return the page for people; `query` is what stands behind the question mark."""

    def json(self) -> Page:
        """Return the same for programs."""


class Pages:
    """Answers a path. Any thread may call it."""

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        servables: ServableStatus,
        status: StatusPages,
    ) -> None:
        self._registry = registry
        self._servables = servables
        self._html = status.html
        self._fixed: dict[str, Callable[[], Page]] = {
            "/status.json": status.json,
            "/livez": lambda: _problems(health.live()),
            "/readyz": lambda: _problems(health.ready()),
            "/v1/models": self._all_models,
        }

    def get(self, path: str, accept: str = "") -> Page:
        """Return the answer to GET; `accept` is the header that chooses the metrics' format."""
        path, _, query = path.partition("?")
        if path == "/":
            return self._html(query)
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return Page(200, content_type, encode(self._registry))
        if path in self._fixed:
            return self._fixed[path]()
        if path.startswith("/v1/"):
            return self._model(path)
        return error_page(404, f"Not found: {path}; there are {', '.join(_PATHS)}")

    def _all_models(self) -> Page:
        """Answer the list of all models, which TF Serving does not have."""
        statuses = {name: self._status(name) for name in sorted(self._servables.servable_names())}
        return json_page(200, {"models": statuses})

    def _status(self, name: str) -> Mapping[str, Any]:
        try:
            return self._servables.model_status(name)
        except ServableError:
            # Its versions are not known yet, or not any more.
            return {"model_version_status": []}

    def _model(self, path: str) -> Page:
        found = _MODEL.fullmatch(path)
        if found is None:
            return error_page(400, f"Malformed request: GET {path}")
        name, version, label, wants_metadata = found.groups()
        name, label = unquote(name), None if label is None else unquote(label)
        if wants_metadata:
            return self._metadata(name, None if version is None else int(version), label)
        try:
            versions = self._servables.model_status(name)["model_version_status"]
            if label is not None:
                version = self._servables.labels(name).get(label)
        except ServableError as error:
            return error_page(_HTTP_STATUS.get(error.code, 500), str(error))
        if version is not None:
            versions = [one for one in versions if int(one["version"]) == int(version)]
        elif label is not None:
            return error_page(404, f"Could not find label {label} of model {name}")
        if not versions:
            which = "any versions" if version is None else f"version {version}"
            return error_page(404, f"Could not find {which} of model {name}")
        return json_page(200, {"model_version_status": versions})

    def _metadata(self, name: str, version: int | None, label: str | None) -> Page:
        try:
            return json_page(200, self._servables.model_metadata(name, version, label))
        except ServableError as error:
            return error_page(_HTTP_STATUS.get(error.code, 500), str(error))


def error_page(status: int, message: str) -> Page:
    """Return an error in TF Serving's form."""
    return json_page(status, {"error": message})


def _problems(problems: Sequence[str]) -> Page:
    return json_page(503 if problems else 200, {"ok": not problems, "problems": list(problems)})


def json_page(status: int, content: object) -> Page:
    """Return an answer in JSON, indented: people read it, too."""
    # Indented by msgspec: json's own encoder of indented text leaves cycles with each call.
    try:
        body = msgspec.json.format(json.dumps(content).encode(), indent=1)
    except msgspec.DecodeError:  # a lone surrogate, of a file's name
        body = json.dumps(content, indent=1).encode()
    return Page(status, "application/json", body + b"\n")
