"""What to serve: one entry a servable, as TF Serving's ModelConfig says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class VersionPolicyKind(Enum):
    """Which of the versions found under a base path are aspired."""

    LATEST = "latest"
    ALL = "all"
    SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """TF Serving's ServableVersionPolicy: the latest N (default 1), all, or the versions listed."""

    kind: VersionPolicyKind = VersionPolicyKind.LATEST
    num_versions: int = 1
    versions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ServableConfig:
    """One servable: its name, where its versions lie, its kind and what that kind is told.

    `kind` names an entry point of the group `topicserve.servables`; `options` are that kind's own
    settings, checked by the kind, which names the key that it does not know. `version_labels`
    maps a label to a version. `default_version` or `default_label`, not both, says which version
    answers requests for the default; without one it is the latest that is not reserved.
    """

    name: str
    base_path: str
    kind: str = "saved_model"
    version_policy: VersionPolicy = VersionPolicy()
    version_labels: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    default_version: int | None = None
    default_label: str | None = None
    reserved_versions: tuple[int, ...] = ()
    """Versions for a canary or a shadow: loaded, but never the default as the latest."""
    reserved_labels: tuple[str, ...] = ()
    """Labels whose versions are reserved."""
