"""The demo's model directory: a network, a table of names, and the servable that joins them."""

import json
from pathlib import Path

from topicserve.demo.digits import NAMES, Network
from topicserve.demo.export import export_network
from topicserve.demo.traffic import SERVABLE

NETWORK = "digit_network"
NAME_TABLE = "digit_names"


class Releases:
    """Writes versions under one folder as a release does: each appears whole, by a rename."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._write(NAME_TABLE, 1, "vocabulary.txt", "".join(f"{name}\n" for name in NAMES))

    def servables(self) -> str:
        """Return the [[servables]] tables of a worker's configuration."""
        return "\n".join(
            [
                self._table(SERVABLE, 'kind = "pipeline"'),
                # Two, so that the one before still answers while the pipeline moves on.
                self._table(NETWORK, "num_versions = 2"),
                self._table(NAME_TABLE, 'kind = "vocabulary"'),
            ]
        )

    def release_network(self, version: int, network: Network) -> None:
        """Export a version of the network; nothing asks for it yet."""
        export_network(network, self._folder / NETWORK, version)

    def release_pipeline(self, version: int) -> None:
        """Let a version of the network answer: the pipeline's version of the same number names it.

        So a result's version says which network spoke.
        """
        self._write(SERVABLE, version, "pipeline.json", json.dumps(_pipeline(version), indent=2))

    def _table(self, name: str, more: str) -> str:
        base_path = json.dumps(str(self._folder / name))
        return f'[[servables]]\nname = "{name}"\nbase_path = {base_path}\n{more}\n'

    def _write(self, servable: str, version: int, file: str, content: str) -> None:
        base_path = self._folder / servable
        base_path.mkdir(exist_ok=True)
        unfinished = self._folder / f"{servable}-{version}.unfinished"
        unfinished.mkdir()
        (unfinished / file).write_text(content)
        unfinished.rename(base_path / str(version))


def _pipeline(version: int) -> dict[str, object]:
    return {
        "steps": [
            {
                "name": "network",
                "servable": NETWORK,
                "version": version,
                "inputs": {"pixels": "pixels"},
            },
            {
                "name": "names",
                "servable": NAME_TABLE,
                "signature_name": "id_to_token",
                "inputs": {"id": "network.digit"},
            },
        ],
        "outputs": {
            "digit": "network.digit",
            "name": "names.token",
            "probabilities": "network.probabilities",
        },
    }
