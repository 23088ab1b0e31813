"""The kind `transform`: declarative steps on columns, from a JSON file that is checked at load."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from topicserve.servables.kind_options import KindOptions, read_options
from topicserve.servables.loader import Loader
from topicserve.servables.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.source_adapter import SourceAdapter
from topicserve.servables.storage_path import StoragePath
from topicserve.servables.transform.transform import load_transform

if TYPE_CHECKING:
    from topicserve.servables.kinds import KindContext


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
