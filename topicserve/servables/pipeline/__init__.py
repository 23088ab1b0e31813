"""The kind `pipeline`: steps over other servables, pinned to one set of versions a batch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from topicserve.servables.kind_options import KindOptions, read_options
from topicserve.servables.loader import Loader
from topicserve.servables.pipeline.pipeline import load_pipeline
from topicserve.servables.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.source_adapter import SourceAdapter
from topicserve.servables.storage_path import StoragePath

if TYPE_CHECKING:
    from topicserve.servables.kinds import KindContext


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
