"""Makes topicserve/protos/*_pb2.py and .pyi from the .proto files: `make protos`."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PROTOS = Path("topicserve/protos")
# protoc writes `Mapping` without its parameters, which mypy --strict refuses.
STUB_HEADER = "# mypy: disable-error-code=type-arg\n"


def generate(into: Path) -> list[Path]:
    """Write the modules and stubs under `into`; return their paths relative to it."""
    sources = sorted(str(PROTOS / path.name) for path in (CHECKOUT / PROTOS).glob("*.proto"))
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I", "."]
    subprocess.run(
        [*protoc, f"--python_out={into}", f"--pyi_out={into}", *sources],
        cwd=CHECKOUT,
        check=True,
        timeout=300,
    )
    made = sorted(path.relative_to(into) for path in (into / PROTOS).glob("*_pb2.py*"))
    for path in made:
        if path.suffix == ".pyi":
            (into / path).write_text(STUB_HEADER + (into / path).read_text())
    return made


if __name__ == "__main__":
    generate(CHECKOUT)
