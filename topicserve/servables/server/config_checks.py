"""What is wrong with a configuration, before any of it is acted on."""

from collections.abc import Iterable, Mapping, Sequence

from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ServableError,
)
from topicserve.servables.server.servable_config import ServableConfig
from topicserve.servables.sources.file_system import file_system_of


def check_configs(
    configs: Sequence[ServableConfig],
    served: Mapping[str, ServableConfig],
    *,
    allow_version_labels: bool,
) -> None:
    """Raise for what cannot be served after what is `served` now.

    That is InvalidArgumentError, or FailedPreconditionError for labels where they are not allowed.
    """
    names = [config.name for config in configs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidArgumentError(f"servables named more than once: {', '.join(twice)}")
    for config in configs:
        before = served.get(config.name)
        if before is not None and before.kind != config.kind:
            raise InvalidArgumentError(
                f"servable {config.name}: its kind cannot change from {before.kind!r} to "
                f"{config.kind!r} while it is served; remove it first, or give it a new name"
            )
        if config.version_labels and not allow_version_labels:
            raise FailedPreconditionError(
                f"servable {config.name} has version labels, which are disabled"
            )
        for label in (config.default_label, *config.reserved_labels):
            if label is not None and label not in config.version_labels:
                raise InvalidArgumentError(
                    f"servable {config.name}: label {label!r} is not one of its version_labels"
                )


def check_base_paths(configs: Iterable[ServableConfig]) -> None:
    """Raise InvalidArgumentError naming a base path that is missing, and the remedy."""
    for config in configs:
        try:
            file_system_of(config.base_path).list_directories(config.base_path)
        except (ServableError, OSError) as error:
            raise InvalidArgumentError(f"servable {config.name}: {error}") from error
