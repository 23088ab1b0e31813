"""Says what to export instead, where a version holds a model file that runs code when it is read.

Pickle runs what its file says, and so do the formats that are made of it or that may name any
function. No kind reads them: docs/kinds.md says why. A version that has one in place of what its
kind wants fails to load with the one line that helps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.source_adapter import SourceAdapter, UnarySourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.sources.regular_files import walk_regular_files

_KERAS = "export the model with model.export(path), and serve that as the kind saved_model"
_TORCH = (
    "export the model with torch.onnx.export(..., dynamo=True), and serve that as the kind onnx"
)
_SKLEARN = "export the model with skl2onnx.to_onnx(model, X[:1]), and serve that as the kind onnx"
REMEDIES = {
    ".keras": _KERAS,
    ".h5": _KERAS,
    ".pt": _TORCH,
    ".pt2": _TORCH,
    ".pth": _TORCH,
    ".pkl": _SKLEARN,
    ".pickle": _SKLEARN,
    ".joblib": _SKLEARN,
}
"""What to do instead, by the ending of the file."""


@contextmanager
def naming_refused_files(path: str) -> Iterator[None]:
    """Raise InvalidArgumentError for a NotFoundError where such a file lies in the directory."""
    try:
        yield
    except NotFoundError as error:
        refused = _refusal(path)
        if refused is None:
            raise
        raise InvalidArgumentError(refused) from error


def _refusal(path: str) -> str | None:
    try:
        names = sorted(name for name, _ in walk_regular_files(path))
    except (InvalidArgumentError, OSError):
        return None
    for name in names:
        remedy = REMEDIES.get(PurePath(name).suffix.lower())
        if remedy is not None:
            return f"{path}: {name} is not read, since reading it can run code: {remedy}"
    return None


class RefusingLoader(Loader):
    """A kind's loader, whose error names the file that is there in place of the wanted one."""

    def __init__(self, path: StoragePath, loader: Loader) -> None:
        self._path = path
        self._loader = loader

    @property
    def servable(self) -> object:
        """Return the kind's servable."""
        return self._loader.servable

    def estimate_resources(self) -> ResourceAllocation:
        """Return the kind's estimate."""
        with naming_refused_files(self._path):
            return self._loader.estimate_resources()

    def load(self) -> None:
        """Load."""
        with naming_refused_files(self._path):
            self._loader.load()

    def load_with_id(self, servable_id: ServableId) -> None:
        """Load, told which version it is."""
        with naming_refused_files(self._path):
            self._loader.load_with_id(servable_id)

    def unload(self) -> None:
        """Unload."""
        self._loader.unload()


class RefusingSourceAdapter(UnarySourceAdapter[StoragePath, Loader]):
    """Makes a kind's loaders name such files."""

    def __init__(self, kind: SourceAdapter[StoragePath, Loader]) -> None:
        super().__init__()
        self._kind = kind

    def convert(self, data: ServableData[StoragePath]) -> Loader:
        """Return the loader."""
        return RefusingLoader(data.payload, self._kind.adapt_one_version(data).payload)
