"""Looks whether the stores of bodies that lie elsewhere can be asked."""

from topicserve.backends.errors import BackendError
from topicserve.backends.references.allow_list import read_prefix
from topicserve.backends.references.errors import BodyNotFoundError
from topicserve.backends.references.stores import BodyStores
from topicserve.cli.check.findings import Findings
from topicserve.worker.config.dataref import DatarefConfig

RESULTS = "dataref.results"


def check_bodies(dataref: DatarefConfig, findings: Findings) -> None:
    """Ask the store of each prefix; nothing where bodies are neither fetched nor stored."""
    stores = BodyStores(dataref.allow)
    named = [
        (f"dataref.allow[{index}]", one) for index, one in enumerate(stores.allow_list.prefixes)
    ]
    if dataref.results:
        named.append((RESULTS, read_prefix(dataref.results)))
    for key, prefix in named:
        try:
            findings.ok(key, f"{prefix.url} {stores.probe(prefix, dataref.timeout_seconds)}")
        except BodyNotFoundError as error:
            if key == RESULTS:  # the first result makes it
                findings.ok(key, f"{prefix.url} is made when a result is stored")
            else:
                findings.problem(key, str(error))
        except BackendError as error:
            findings.problem(key, str(error))
