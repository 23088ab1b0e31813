"""The kind `transform`: declarative steps on columns, from a JSON file that is checked at load."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from topicserve.servables.core.loader import Loader
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.options import KindOptions, read_options
from topicserve.servables.kinds.transform.transform import load_transform

if TYPE_CHECKING:
    from topicserve.servables.kinds.registry import KindContext


class TransformOptions(KindOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the steps stand."""

    file: str = "transform.json"
    """The file's name in the version's directory."""


def make_adapter(
    options: Mapping[str, object],
    context: "KindContext",  # noqa: ARG001 - what every kind is given
) -> SourceAdapter[StoragePath, Loader]:
    """Return what makes loaders of transforms; InvalidArgumentError for bad options."""
    settings = read_options(TransformOptions, options, "transform")
    return SimpleLoaderSourceAdapter(lambda path: load_transform(path, settings.file))
