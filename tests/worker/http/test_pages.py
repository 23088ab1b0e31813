import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from tests.support.stages.status import NoStatus
from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.worker.http.pages import Pages, json_page


class FakeHealth:
    def __init__(self) -> None:
        self.live_problems: list[str] = []
        self.ready_problems: list[str] = []

    def live(self) -> Sequence[str]:
        return self.live_problems

    def ready(self) -> Sequence[str]:
        return self.ready_problems


class FakeServables:
    def __init__(self, versions: Mapping[str, Mapping[int, str]]) -> None:
        self._versions = versions

    def servable_names(self) -> Sequence[str]:
        return list(self._versions)

    def model_status(self, name: str) -> Mapping[str, Any]:
        if not self._versions.get(name):
            raise NotFoundError(f"Could not find any versions of model {name}")
        return {
            "model_version_status": [
                one_version(version, state) for version, state in self._versions[name].items()
            ]
        }

    def model_metadata(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Mapping[str, Any]:
        if name not in self._versions or version == 7:
            raise NotFoundError("Servable not found")
        if label == "new":
            raise InvalidArgumentError("there is no label 'new'")
        return {"asked": [name, version, label]}

    def labels(self, name: str) -> Mapping[str, int]:
        return {"stable": 1, "gone": 9} if name == "digits" else {}


def one_version(version: int, state: str) -> dict[str, Any]:
    """Return a version's status as TF Serving spells it."""
    return {
        "version": str(version),
        "state": state,
        "status": {"error_code": "OK", "error_message": ""},
    }


def pages(health: FakeHealth | None = None, registry: CollectorRegistry | None = None) -> Pages:
    """Return the pages of a worker with two versions of one servable, and none of another."""
    servables = FakeServables(
        {"digits": {1: "AVAILABLE", 2: "LOADING"}, "empty": {}, "größe/a b": {1: "AVAILABLE"}}
    )
    return Pages(registry or CollectorRegistry(), health or FakeHealth(), servables, NoStatus())


def get(path: str) -> tuple[int, Any]:
    """Return status and content of a path."""
    page = pages().get(path)
    assert page.content_type == "application/json"
    return page.status, json.loads(page.body)


def test_metrics_are_in_prometheus_text_format() -> None:
    """A query behind the path changes nothing."""
    registry = CollectorRegistry()
    Counter("topicserve_something", "Help.", registry=registry).inc(3)

    page = pages(registry=registry).get("/metrics?x=1")

    assert page.status == 200
    assert page.content_type.startswith("text/plain")
    assert b"topicserve_something_total 3.0\n" in page.body


def test_metrics_are_in_openmetrics_format_where_asked_for() -> None:
    """As Prometheus asks by its Accept header."""
    page = pages().get("/metrics", "application/openmetrics-text; version=1.0.0")

    assert page.content_type.startswith("application/openmetrics-text")
    assert page.body.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_is_200_where_nothing_is_wrong(path: str) -> None:
    """Kubernetes looks at the status alone."""
    assert get(path) == (200, {"ok": True, "problems": []})


def test_health_says_what_is_wrong() -> None:
    """Alive and ready are two questions."""
    health = FakeHealth()
    health.live_problems = ["stuck"]
    health.ready_problems = ["no version of 'digits'", "Redis does not answer"]

    live, ready = pages(health).get("/livez"), pages(health).get("/readyz")

    assert (live.status, ready.status) == (503, 503)
    assert json.loads(live.body)["problems"] == ["stuck"]
    assert json.loads(ready.body)["problems"] == [
        "no version of 'digits'",
        "Redis does not answer",
    ]


def test_model_status_is_tf_servings() -> None:
    """GET /v1/models/NAME lists all versions with their states."""
    assert get("/v1/models/digits") == (
        200,
        {"model_version_status": [one_version(1, "AVAILABLE"), one_version(2, "LOADING")]},
    )


@pytest.mark.parametrize(
    ("path", "version", "state"),
    [
        ("/v1/models/digits/versions/2", 2, "LOADING"),
        ("/v1/models/digits/versions/01", 1, "AVAILABLE"),
        ("/v1/models/digits/labels/stable", 1, "AVAILABLE"),
        ("/v1/models/digits/labels/%73table", 1, "AVAILABLE"),
        ("/v1/models/gr%C3%B6%C3%9Fe%2Fa%20b/versions/1", 1, "AVAILABLE"),
    ],
)
def test_one_version_can_be_asked_for(path: str, version: int, state: str) -> None:
    """By its number, or by a label."""
    assert get(path) == (200, {"model_version_status": [one_version(version, state)]})


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/other", 404, "Could not find any versions of model other"),
        ("/v1/models/empty", 404, "Could not find any versions of model empty"),
        ("/v1/models/digits/versions/7", 404, "Could not find version 7 of model digits"),
        ("/v1/models/digits/labels/new", 404, "Could not find label new of model digits"),
        ("/v1/models/digits/labels/gone", 404, "Could not find version 9 of model digits"),
        (
            "/v1/models/digits/versions/x",
            400,
            "Malformed request: GET /v1/models/digits/versions/x",
        ),
        ("/v1/models/digits:predict", 400, "Malformed request: GET /v1/models/digits:predict"),
        (
            "/v2",
            404,
            "Not found: /v2; there are /, /status.json, /metrics, /livez, /readyz, /v1/models",
        ),
    ],
)
def test_what_is_not_there_is_said_as_tf_serving_says_it(
    path: str, status: int, message: str
) -> None:
    """The same status codes, and a JSON object with `error`."""
    assert get(path) == (status, {"error": message})


@pytest.mark.parametrize(
    ("path", "status", "content"),
    [
        ("digits/metadata", 200, {"asked": ["digits", None, None]}),
        ("digits/versions/1/metadata", 200, {"asked": ["digits", 1, None]}),
        ("digits/labels/stable/metadata", 200, {"asked": ["digits", None, "stable"]}),
        ("gr%C3%B6%C3%9Fe%2Fa%20b/metadata", 200, {"asked": ["größe/a b", None, None]}),
        ("digits/versions/7/metadata", 404, {"error": "Servable not found"}),
        ("digits/labels/new/metadata", 400, {"error": "there is no label 'new'"}),
        ("other/metadata", 404, {"error": "Servable not found"}),
        ("digits/data", 400, {"error": "Malformed request: GET /v1/models/digits/data"}),
    ],
)
def test_metadata_is_asked_for_as_of_tf_serving(path: str, status: int, content: Any) -> None:
    """Of the latest version, of one by number, or by label."""
    assert get(f"/v1/models/{path}") == (status, content)


def test_all_models_are_listed_also_those_without_versions() -> None:
    """TF Serving has no such list; a worker that serves nothing yet must be visible as well."""
    status, content = get("/v1/models")

    assert status == 200
    assert content["models"]["empty"] == {"model_version_status": []}
    assert [one["version"] for one in content["models"]["digits"]["model_version_status"]] == [
        "1",
        "2",
    ]


def test_the_front_page_is_the_status() -> None:
    """For anyone who opens the address that the worker printed; what stands behind ? reaches it."""
    assert pages().get("/?refresh=off").body == b"refresh=off"
    assert get("/status.json") == (200, {"schema": 1})


@pytest.mark.parametrize(
    "content", [{"a": [1, None, {"b": "\u20ac"}], "c": {}}, {"file": "\udc80"}, {"x": float("inf")}]
)
def test_json_is_indented_whatever_it_has(content: object) -> None:
    """File names may hold what is no text."""
    assert json.loads(json_page(200, content).body) == content
    assert json_page(200, content).body.startswith(b"{\n ")
