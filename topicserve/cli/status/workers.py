"""What workers say of themselves over HTTP: the versions that they serve, and what is missing."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from topicserve.redact import redact_address
from topicserve.worker.supervisor.pages import MAX_FETCHES, Fetched, fetch


@dataclass(frozen=True, slots=True)
class ReportedWorker:
    """One address: a worker, or a supervisor that speaks for its replicas."""

    url: str
    """Without a user and a password."""
    answers: bool
    problems: tuple[str, ...] = ()
    """Why it is not ready; empty for one that is."""
    versions: dict[str, dict[str, str]] | None = None
    """By servable: the state of each version, in TensorFlow Serving's words."""

    def content(self) -> dict[str, Any]:
        """Return it as a script has it."""
        return {
            "url": self.url,
            "answers": self.answers,
            "problems": list(self.problems),
            "versions": self.versions or {},
        }


def ask_workers(
    urls: Sequence[str], fetch: Callable[[str], Fetched] = fetch
) -> list[ReportedWorker]:
    """Ask all of them at once; one that does not answer says so."""
    if not urls:
        return []
    with ThreadPoolExecutor(min(len(urls), MAX_FETCHES)) as pool:
        return list(pool.map(lambda url: _ask(url, fetch), urls))


def _ask(url: str, fetch: Callable[[str], Fetched]) -> ReportedWorker:
    ready = fetch(f"{url}/readyz")
    if not ready.status:
        return ReportedWorker(redact_address(url), answers=False, problems=("does not answer",))
    problems = _json(ready).get("problems", [])
    models = _json(fetch(f"{url}/v1/models")).get("models", {})
    versions = {name: _versions(status) for name, status in models.items()}
    return ReportedWorker(redact_address(url), True, tuple(map(str, problems)), versions)


def _versions(status: Any) -> dict[str, str]:
    listed = status.get("model_version_status", []) if isinstance(status, dict) else []
    return {str(one["version"]): str(one["state"]) for one in listed}


def _json(answer: Fetched) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
