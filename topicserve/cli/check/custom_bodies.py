"""Loads the bodies that a configuration names, with their options, as a worker does."""

from topicserve.cli.check.findings import Findings
from topicserve.worker.config.schema import ConfigError, WorkerConfig
from topicserve.worker.runtime.bodies import open_bodies


def check_custom_bodies(config: WorkerConfig, findings: Findings) -> None:
    """Note for each whether it can be used; nothing where none is named."""
    try:
        open_bodies(config)
    except ConfigError as error:
        findings.problem(error.key, error.problem)
    else:
        for name in config.bodies:
            findings.ok(f"bodies.{name}", "is loaded, and takes its options")
