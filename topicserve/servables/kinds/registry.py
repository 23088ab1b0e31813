"""The kinds of servables there are, by name. New ones come from outside, as entry points.

Entry points of the group `topicserve.servables` are looked up when a kind is asked for, and only
that one is imported.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from topicserve.entry_point_names import known_names, load_named
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.servable_handle import ServableHandle
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.servable import Servable

ENTRY_POINT_GROUP = "topicserve.servables"

# What is shipped is there also where the metadata of an older installation does not say so.
_SHIPPED: Mapping[str, str] = {
    name: f"topicserve.servables.kinds.{name}:make_adapter"
    for name in (
        *("saved_model", "onnx", "tf_serving", "open_inference"),
        *("hashmap", "vocabulary", "transform", "pipeline"),
    )
}


class KindContext(Protocol):
    """What a kind may ask of the core that serves it. Any thread may ask; nothing waits."""

    def get_servable_handle(self, request: ServableRequest) -> ServableHandle[Servable]:
        """Return a handle, which the caller closes, or raise NotFoundError."""

    def get_servable_handles(
        self, requests: Sequence[ServableRequest]
    ) -> list[ServableHandle[Servable]]:
        """Return handles on versions that were all available at one moment, or NotFoundError."""


KindFactory: TypeAlias = Callable[
    [Mapping[str, object], KindContext], SourceAdapter[StoragePath, Loader]
]
"""Makes what turns the paths of versions into loaders, from a servable's options.

Raises InvalidArgumentError naming the option that it does not know or cannot take. Servables of
equal options share one adapter.
"""


def known_kinds() -> list[str]:
    """Return the names of all kinds: those shipped and those installed."""
    return known_names(ENTRY_POINT_GROUP, _SHIPPED)


def load_kind(name: str) -> KindFactory:
    """Return a kind's factory; InvalidArgumentError where there is none, or it does not import."""
    try:
        factory: KindFactory = load_named(ENTRY_POINT_GROUP, name, _SHIPPED, "kind")
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error
    return factory
