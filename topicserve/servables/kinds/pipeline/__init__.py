"""The kind `pipeline`: steps over other servables, pinned to one set of versions a batch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from topicserve.servables.core.loader import Loader
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.options import KindOptions, read_options
from topicserve.servables.kinds.pipeline.pipeline import load_pipeline

if TYPE_CHECKING:
    from topicserve.servables.kinds.registry import KindContext


class PipelineOptions(KindOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the steps stand."""

    file: str = "pipeline.json"
    """The file's name in the version's directory."""


def make_adapter(
    options: Mapping[str, object], context: "KindContext"
) -> SourceAdapter[StoragePath, Loader]:
    """Return what makes loaders of pipelines; InvalidArgumentError for bad options."""
    settings = read_options(PipelineOptions, options, "pipeline")
    return SimpleLoaderSourceAdapter(lambda path: load_pipeline(path, settings.file, context))
