"""MLServer in an environment of its own, with models that a test writes."""

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.peer_environments import python_of
from tests.support.processes.child_process import ChildProcess

_PORTS = ("http_port", "grpc_port", "metrics_port")


@contextmanager
def mlserver(directory: Path, models: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield the address of gRPC; `models` has each model's files. It may not be ready yet."""
    with ExitStack() as taken:
        probes = [taken.enter_context(socket.socket()) for _ in _PORTS]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in probes]
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **dict(zip(_PORTS, ports, strict=True))}
    directory.mkdir()
    (directory / "settings.json").write_text(json.dumps(settings))
    for model, files in models.items():
        (directory / model).mkdir()
        for name, content in files.items():
            (directory / model / name).write_text(content)
    start = ["from mlserver.cli import main; main()", "start", str(directory)]
    # Its log goes to stdout, which no one reads.
    program = ["sh", "-c", 'exec "$@" >&2', "sh", str(python_of("mlserver")), "-c", *start]
    with ChildProcess(program, directory / "mlserver.log"):
        yield f"127.0.0.1:{ports[1]}"


def published_fields() -> Sequence[str]:
    """Return `message.field number type` for each field of the messages that MLServer has."""
    code = """
from mlserver.grpc import dataplane_pb2
def add(prefix, message):
    for field in message.fields:
        kind = field.message_type.name if field.message_type else field.type
        print(f"{prefix}{message.name}.{field.name} {field.number} {kind}")
    for nested in message.nested_types:
        add(f"{prefix}{message.name}.", nested)
for message in dataplane_pb2.DESCRIPTOR.message_types_by_name.values():
    add("", message)
"""
    done = subprocess.run(
        [python_of("mlserver"), "-c", code], check=True, capture_output=True, text=True, timeout=300
    )
    return done.stdout.splitlines()
