"""Reads a worker's configuration, and says what is wrong with it and where that came from.

File, then environment, then flags: the later one wins, key by key. It reads files and asks no
server; `topicserve.worker.runtime.preflight` does.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from topicserve.worker.config.checks import check
from topicserve.worker.config.faults import faults
from topicserve.worker.config.layers import Tree, put_together
from topicserve.worker.config.schema import ConfigError, WorkerConfig
from topicserve.worker.config.texts import as_typed

_INDEX = re.compile(r"\[\d+\]$")
_TYPE = msgspec.inspect.type_info(WorkerConfig)


class LoadedConfig(NamedTuple):
    """A configuration, and where its values came from."""

    config: WorkerConfig
    sources: Mapping[str, str]
    """The file, the variable or the flag of each dotted key that is not at its default."""


def load_config(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> WorkerConfig:
    """Return the configuration, or raise ConfigError naming the first key that is wrong.

    `flags` maps dotted keys to what was typed, a list of it for a flag that was repeated, or None
    for a flag that was not given; a Text says where it was typed instead. The flag "servables"
    lists NAME=BASE_PATH. The error says where the value came from.
    """
    return load_with_sources(path, environ, flags).config


def load_with_sources(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> LoadedConfig:
    """Return the configuration with the source of each key, or raise ConfigError as above."""
    sources: dict[str, str] = {}
    try:
        config = _convert(put_together(path, environ, flags, sources))
        check(config)
    except RecursionError:
        raise _too_deep(path) from None
    except ConfigError as error:
        raise _with_source(error, sources) from None
    return LoadedConfig(config, sources)


def find_problems(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> list[ConfigError]:
    """Return an error for each key that is wrong, where `load_config` raises the first one.

    What must hold between keys is looked at once each of them is right.
    """
    sources: dict[str, str] = {}
    try:
        typed = as_typed(_TYPE, put_together(path, environ, flags, sources), "")
        found = list(faults(_TYPE, typed, ""))
        if not found:
            check(msgspec.convert(typed, WorkerConfig))
    except RecursionError:
        found = [_too_deep(path)]
    except ConfigError as error:
        found = [error]
    return [_with_source(error, sources) for error in found]


def _too_deep(path: Path | None) -> ConfigError:
    return ConfigError(str(path or "configuration"), "is nested too deeply")


def _convert(tree: Tree) -> WorkerConfig:
    typed = as_typed(_TYPE, tree, "")
    try:
        return msgspec.convert(typed, WorkerConfig)
    # Its text may show a password; what is raised here instead does not.
    except msgspec.ValidationError:
        raise next(faults(_TYPE, typed, "")) from None


def _with_source(error: ConfigError, sources: Mapping[str, str]) -> ConfigError:
    """Return the error with the file, the variable or the flag that its key came from."""
    source = sources.get(_INDEX.sub("", error.key))
    if source is None or "(from " in error.problem:
        return error
    return ConfigError(error.key, f"{error.problem} (from {source})")
