"""Makes the adapters of kinds, one for all servables of a kind with equal options."""

import json
from collections.abc import Mapping, Sequence

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.registry import KindContext, load_kind
from topicserve.servables.server.kind_router import Adapter
from topicserve.servables.server.refused_formats import RefusingSourceAdapter
from topicserve.servables.server.servable_config import ServableConfig
from topicserve.servables.sources.local_copy_loader import LocalCopySourceAdapter

_Key = tuple[str, str]


class ServedKinds:
    """Keeps the adapters that are in use."""

    def __init__(self, context: KindContext) -> None:
        self._context = context
        self._adapters: dict[_Key, Adapter] = {}

    def routes(self, configs: Sequence[ServableConfig]) -> Mapping[str, Adapter]:
        """Return each servable's adapter; InvalidArgumentError naming the servable at fault.

        Nothing is kept of them until `keep`.
        """
        made = dict(self._adapters)
        return {config.name: self._adapter(config, made) for config in configs}

    def keep(self, configs: Sequence[ServableConfig], routes: Mapping[str, Adapter]) -> None:
        """Remember what is in use now, and only that."""
        self._adapters = {_key(config): routes[config.name] for config in configs}

    def _adapter(self, config: ServableConfig, made: dict[_Key, Adapter]) -> Adapter:
        key = _key(config)
        if key not in made:
            try:
                kind = load_kind(config.kind)(config.options, self._context)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"servable {config.name}: {error}") from error
            made[key] = LocalCopySourceAdapter(RefusingSourceAdapter(kind))
        return made[key]


def _key(config: ServableConfig) -> _Key:
    return config.kind, json.dumps(config.options, sort_keys=True, default=repr)
