"""Environments for the frameworks of `make bench-peers`, made when they are first asked for.

They lie in .cache/peers: what these frameworks need takes no part in this project's lock. Tests of
`make chaos` have the servers that they need there, too.
"""

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache" / "peers"
PEERS: Mapping[str, tuple[str, ...]] = {
    "quix": ("quixstreams==3.28.1",),
    "faststream": ("faststream[confluent]==0.7.8", "confluent-kafka==2.16.1"),
    "mlserver": ("mlserver==1.7.1",),
    "s3": ("s3fs==2026.9.0", "moto[server]==5.2.5"),
}
# What the job itself needs, as in the environment that the worker runs in.
_OF_THE_JOB = ("tensorflow-cpu", "numpy", "redis", "hiredis", "orjson")
# A server of its own kind does no job; and what lies here must not stand for the worker's own.
_WITHOUT_JOB = frozenset({"s3"})
_MADE_OF = "made-of.txt"


def python_of(peer: str) -> Path:
    """Return the interpreter of a framework's environment; makes it where it is missing or old."""
    of_the_job = () if peer in _WITHOUT_JOB else _OF_THE_JOB
    wanted = [*PEERS[peer], *(f"{name}=={version(name)}" for name in of_the_job)]
    directory = CACHE / peer
    python = directory / "bin" / "python"
    made_of = directory / _MADE_OF
    if not made_of.exists() or made_of.read_text().split() != wanted:
        print(f"making {directory}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        made_of.write_text("\n".join(wanted))
    return python
