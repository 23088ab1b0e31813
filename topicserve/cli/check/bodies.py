"""Looks whether the stores of bodies that lie elsewhere can be asked."""

from collections.abc import Callable

from topicserve.backends.errors import BackendError
from topicserve.backends.references.allow_list import FILE, HTTP, HTTPS, Location, read_prefix
from topicserve.backends.references.errors import BodyNotFoundError, ReferenceRefusedError
from topicserve.backends.references.stores import BodyStores
from topicserve.backends.references.writing import probe_writable
from topicserve.cli.check.findings import Findings
from topicserve.worker.config.dataref import DatarefConfig


def check_bodies(dataref: DatarefConfig, findings: Findings) -> None:
    """Ask the store of each prefix; nothing where bodies are neither fetched nor stored."""
    stores = BodyStores(dataref.allow)

    def probe(prefix: Location) -> str:
        return stores.probe(prefix, dataref.timeout_seconds)

    for index, prefix in enumerate(stores.allow_list.prefixes):
        _check(f"dataref.allow[{index}]", prefix, probe, findings)
    if dataref.results:
        _check("dataref.results", read_prefix(dataref.results), probe_writable, findings)


def _check(
    key: str, prefix: Location, probe: Callable[[Location], str], findings: Findings
) -> None:
    is_object_store = prefix.scheme not in (FILE, HTTP, HTTPS)
    try:
        findings.ok(key, f"{prefix.url} {probe(prefix)}")
    except (BodyNotFoundError, ReferenceRefusedError) as error:
        # An object store may allow its objects to be used, and say nothing of the bucket.
        (findings.warning if is_object_store else findings.problem)(key, str(error))
    except BackendError as error:
        findings.problem(key, str(error))
