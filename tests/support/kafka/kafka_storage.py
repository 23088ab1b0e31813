"""Directories of Apache Kafka's nodes as `kafka-storage format` leaves them."""

import base64
import re
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from tests.support.kafka.kafka_jars import CACHE, JAVA, classpath, locked
from tests.support.kafka.kafka_properties import Ports, node_properties, write_properties

_CLUSTER_ID = "dG9waWNzZXJ2ZS10ZXN0cw"


def copy_formatted(data: Path, node_id: int) -> None:
    """Make a node's directory. It is formatted once and copied: that takes no time."""
    shutil.copytree(_formatted_directory(), data)
    meta = data / "meta.properties"
    own = {"node.id": str(node_id), "directory.id": _directory_id()}
    text = meta.read_text()
    for name, value in own.items():
        text = re.sub(rf"(?m)^{re.escape(name)}=.*$", f"{name}={value}", text)
    meta.write_text(text)


def _directory_id() -> str:
    """Return a random id as Kafka writes one: the controller wants one of each directory."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _formatted_directory() -> Path:
    formatted = CACHE / "formatted"
    with locked(CACHE):
        if not formatted.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                _format(Path(scratch))
                Path(scratch, "data").rename(formatted)
    return formatted


def _format(scratch: Path) -> None:
    properties = scratch / "server.properties"
    ports = Ports(clients=1, controller=2, inner=3)  # nothing listens while it formats
    write_properties(
        properties, node_properties(1, ports, {1: 2}, scratch / "data", client_protocol="PLAINTEXT")
    )
    command = [*JAVA, "-cp", classpath(), "kafka.tools.StorageTool", "format"]
    subprocess.run(
        [*command, "-t", _CLUSTER_ID, "-c", str(properties)], check=True, capture_output=True
    )
