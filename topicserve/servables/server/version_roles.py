"""What the versions of each servable are for: the default, labels, a canary, a shadow."""

from collections.abc import Callable, Mapping, Sequence

from topicserve.servables.core.errors import NotFoundError
from topicserve.servables.core.policies.aspired_version_policy import Roles
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.server.servable_config import ServableConfig
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.servables.server.version_labels import VersionLabels


class VersionRoles:
    """Knows the configuration, labels and available versions. Any thread may call it."""

    def __init__(
        self,
        labels: VersionLabels,
        available: Callable[[str], Sequence[int]],
        guard: SwapGuard | None,
    ) -> None:
        self._labels = labels
        self._available = available
        self._guard = guard
        self._configs: Mapping[str, ServableConfig] = {}

    def set(self, configs: Mapping[str, ServableConfig]) -> None:
        """Follow this configuration. Where it differs, the guard begins again."""
        before, self._configs = self._configs, configs
        if self._guard is not None:
            for name in before:
                if before[name] != configs.get(name):
                    self._guard.forget(name)

    def default(self, name: str) -> ServableRequest:
        """Return the request for the version that answers by default now.

        NotFoundError where there is none: only versions that are reserved are available.
        """
        config = self._configs.get(name)
        if config is None:
            raise NotFoundError(f"servable not found for request: {ServableRequest.default(name)}")
        if config.default_version is not None:
            return ServableRequest.specific(name, config.default_version)
        version = self._choose(config)
        if version is None:
            raise NotFoundError(f"servable not found for request: {ServableRequest.default(name)}")
        return ServableRequest.specific(name, version)

    def latest(self, name: str) -> ServableRequest:
        """Return the request for the latest available version that the guard has not rejected."""
        rejected = self.rejections(name)
        if rejected:
            others = [version for version in self._available(name) if version not in rejected]
            if others:
                return ServableRequest.specific(name, max(others))
        return ServableRequest.latest(name)

    def to_load(self, name: str) -> frozenset[int]:
        """Return the versions that are loaded while they are there, whatever the policy says."""
        config = self._configs[name]
        default = () if config.default_version is None else (config.default_version,)
        return frozenset(
            {*self._labels.protected_versions(name), *default, *config.reserved_versions}
        )

    def canary_and_shadow_versions(self, name: str) -> frozenset[int]:
        """Return the versions that are reserved, or are to be."""
        config = self._configs.get(name)
        if config is None or not (config.reserved_versions or config.reserved_labels):
            return frozenset()
        labelled = (self._labels.versions_of(name, label) for label in config.reserved_labels)
        return frozenset(config.reserved_versions).union(*labelled)

    def of(self, name: str) -> Roles:
        """Return what a servable's versions are for now, for the policy to keep."""
        config = self._configs.get(name)
        if config is None:
            return Roles()
        # Not those of a canary or shadow: the default answers for them when they are taken away.
        labels = self._labels.of(name).items()
        named = {version for label, version in labels if label not in config.reserved_labels}
        if config.default_version is not None:
            named.add(config.default_version)
        elif self._guard is not None:
            # Chosen first: the guard then knows of every version that is ready by now, and keeps
            # the one before it.
            self._choose(config)
            named |= self._guard.kept(name)
        return Roles(frozenset(named), self.canary_and_shadow_versions(name))

    def rejections(self, name: str) -> Mapping[int, str]:
        """Return the versions that the guard has rejected, each with the reason."""
        return {} if self._guard is None else self._guard.rejections(name)

    def reasons(self, name: str) -> Mapping[int, str]:
        """Return the same for people, with versions that have been unloaded since."""
        return {} if self._guard is None else self._guard.reasons(name)

    def _choose(self, config: ServableConfig) -> int | None:
        if self._guard is None:
            order = self._in_order(config, self._available(config.name))
            return next(iter(order), None)
        return self._guard.choose(
            config.name,
            lambda: self._available(config.name),
            lambda available: self._in_order(config, available),
        )

    def _in_order(self, config: ServableConfig, available: Sequence[int]) -> Sequence[int]:
        """Return the versions that may be the default, the best one first."""
        if config.default_label is not None:
            version = self._labels.of(config.name).get(config.default_label)
            return () if version is None else (version,)
        reserved = self.canary_and_shadow_versions(config.name)
        return [version for version in reversed(available) if version not in reserved]
