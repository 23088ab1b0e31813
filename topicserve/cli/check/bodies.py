"""Looks whether the stores of bodies that lie elsewhere can be asked."""

from topicserve.backends.errors import BackendError
from topicserve.backends.references.stores import BodyStores
from topicserve.cli.check.findings import Findings
from topicserve.worker.config.dataref import DatarefConfig


def check_bodies(dataref: DatarefConfig, findings: Findings) -> None:
    """Ask the store of each allowed prefix; nothing where bodies are not fetched."""
    stores = BodyStores(dataref.allow)
    for index, prefix in enumerate(stores.allow_list.prefixes):
        key = f"dataref.allow[{index}]"
        try:
            findings.ok(key, f"{prefix.url} {stores.probe(prefix, dataref.timeout_seconds)}")
        except BackendError as error:
            findings.problem(key, str(error))
