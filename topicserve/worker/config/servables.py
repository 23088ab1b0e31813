"""Reads one of the [[servables]]: TF Serving's ModelConfig, and how records are routed to it."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from topicserve.servables.server.servable_config import (
    ServableConfig,
    VersionPolicy,
    VersionPolicyKind,
)
from topicserve.worker.config.schema import ConfigError, Count, ServedConfig, Version
from topicserve.worker.config.values import read_table, read_value, refuse_unknown, require_table

ROUTING_KEYS = ("canary", "shadow", "guard_share", "guard_records")
POLICY_KEYS = ("version_policy", "num_versions", "versions")
MADE_OF_OTHER_KEYS = {"apart_versions", "apart_labels"}
_SERVABLE_KEYS = tuple(
    one.name
    for one in fields(ServableConfig)
    if one.name not in {"name", "version_policy", *MADE_OF_OTHER_KEYS}
)


def read_served(name: str, table: object) -> ServedConfig:
    """Return one servable's configuration, or raise ConfigError naming the key at fault."""
    key = f"servables.{name}"
    content = require_table(table, key)
    refuse_unknown(content, [*_SERVABLE_KEYS, *POLICY_KEYS, *ROUTING_KEYS], key)
    servable = read_table(
        ServableConfig,
        _only(content, _SERVABLE_KEYS),
        key,
        name=name,
        version_policy=_version_policy(_only(content, POLICY_KEYS), key),
    )
    return _set_apart(
        read_table(ServedConfig, _only(content, ROUTING_KEYS), key, servable=servable)
    )


def _set_apart(served: ServedConfig) -> ServedConfig:
    """Set the versions of a canary and a shadow apart: they do not become the default."""
    sides = [side for side in (served.canary, served.shadow) if side is not None]
    servable = replace(
        served.servable,
        apart_versions=tuple(side.version for side in sides if side.version is not None),
        apart_labels=tuple(side.label for side in sides if side.label is not None),
    )
    return replace(served, servable=servable)


def _only(table: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    return {name: value for name, value in table.items() if name in names}


def _version_policy(table: Mapping[str, Any], key: str) -> VersionPolicy:
    """Return the policy of `version_policy`, or of the number or the list that implies it."""

    def read(hint: Any, name: str, default: Any) -> Any:
        return read_value(hint, table[name], f"{key}.{name}") if name in table else default

    versions = read(tuple[Version, ...], "versions", ())
    num_versions = read(Count, "num_versions", 1)
    implied = VersionPolicyKind.SPECIFIC if versions else VersionPolicyKind.LATEST
    kind = read(VersionPolicyKind, "version_policy", implied)
    if kind is VersionPolicyKind.SPECIFIC and not versions:
        raise ConfigError(f"{key}.versions", 'must list the versions of version_policy "specific"')
    if kind is not VersionPolicyKind.SPECIFIC and versions:
        raise ConfigError(
            f"{key}.versions", f'belongs to version_policy "specific", found {kind.value!r}'
        )
    if kind is not VersionPolicyKind.LATEST and "num_versions" in table:
        raise ConfigError(
            f"{key}.num_versions", f'belongs to version_policy "latest", found {kind.value!r}'
        )
    return VersionPolicy(kind, num_versions, versions)
