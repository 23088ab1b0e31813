"""One of the [[servables]]: TF Serving's ModelConfig, and how records are routed to it."""

from collections.abc import Mapping
from typing import Any, Self

from msgspec import field

from topicserve.servables.server.servable_config import (
    ServableConfig,
    VersionPolicy,
    VersionPolicyKind,
)
from topicserve.worker.config.types import ConfigTable, Count, CountFromZero, Share, Version


class CanaryConfig(ConfigTable, frozen=True):
    """[servables.canary]: a share of record ids, stable by hash, goes to another version."""

    share: Share
    """The share of record ids."""
    version: Version | None = None
    """The version that they go to."""
    label: str | None = None
    """Or the label."""


class ShadowConfig(ConfigTable, frozen=True):
    """[servables.shadow]: a share of records is predicted by a second version too."""

    share: Share
    """The share of record ids."""
    version: Version | None = None
    """The version that predicts them a second time."""
    label: str | None = None
    """Or the label."""


class ServedConfig(ConfigTable, frozen=True):
    """[[servables]]: a servable, and how the worker routes records to its versions."""

    name: str
    """What records ask for, and results name."""
    base_path: str
    """The directory that holds one directory a version."""
    kind: str = "saved_model"
    """How a version is loaded; see [kinds](kinds.md), also for kinds of your own."""
    version_policy: VersionPolicyKind | None = None
    """Which versions are served; without it `latest`, or `specific` where `versions` are listed."""
    num_versions: Count | None = None
    """How many of the latest, 1 without it; with `latest` only."""
    versions: tuple[Version, ...] = ()
    """Which ones; implies `specific`."""
    version_labels: Mapping[str, Version] = field(default_factory=dict)
    """Names that records may ask for instead of a version."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The kind's own settings; see [kinds](kinds.md)."""
    default_version: Version | None = None
    """The version that answers records that name none; see [versions](versions.md)."""
    default_label: str | None = None
    """Or the label. Without either: the latest version, but not the canary's or the shadow's."""
    guard_share: Share = 0.5
    """A new default version that fails on more of its records is rejected.

    See [the guard after a swap](versions.md#the-guard-after-a-swap).
    """
    guard_records: CountFromZero = 100
    """How many records decide; until then both versions are loaded. 0: no guard."""
    canary: CanaryConfig | None = None
    """See `[servables.canary]`."""
    shadow: ShadowConfig | None = None
    """See `[servables.shadow]`."""

    @classmethod
    def of(cls, servable: ServableConfig) -> Self:
        """Return how a worker serves what a model config file lists: as a TF Serving would."""
        policy = servable.version_policy
        is_latest = policy.kind is VersionPolicyKind.LATEST
        return cls(
            *(servable.name, servable.base_path, servable.kind),
            version_policy=policy.kind,
            num_versions=policy.num_versions if is_latest else None,
            versions=policy.versions,
            version_labels=servable.version_labels,
        )

    @property
    def servable(self) -> ServableConfig:
        """Return what the ServerCore is told; a canary's and a shadow's versions are reserved."""
        sides = [side for side in (self.canary, self.shadow) if side is not None]
        return ServableConfig(
            self.name,
            self.base_path,
            self.kind,
            VersionPolicy(self.policy_kind, self.num_versions or 1, self.versions),
            self.version_labels,
            self.options,
            self.default_version,
            self.default_label,
            reserved_versions=tuple(side.version for side in sides if side.version is not None),
            reserved_labels=tuple(side.label for side in sides if side.label is not None),
        )

    @property
    def policy_kind(self) -> VersionPolicyKind:
        """Return the policy that is named, or that a list of versions implies."""
        implied = VersionPolicyKind.SPECIFIC if self.versions else VersionPolicyKind.LATEST
        return self.version_policy or implied
