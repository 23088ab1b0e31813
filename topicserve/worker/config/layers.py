r"""Puts the TOML file, the environment and flags together to one tree of tables.

A key `batching.max_batch_size` is TOPICSERVE_BATCHING__MAX_BATCH_SIZE in the environment: two
underscores between table and key. Lists are written with commas, and a comma within an item as
`\,`; a flag that may be repeated has one item each time instead. A servable's keys have its name
between, TOPICSERVE_SERVABLES__DIGITS__BASE_PATH, in any case; one that the file does not have is
added. Kafka's settings have underscores for dots: TOPICSERVE_KAFKA__SETTINGS__SECURITY_PROTOCOL.

Any of these with _FILE behind it names a file that holds the value, as Docker's secrets do. No
error shows a value that may be a password, or text that may hold one.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from topicserve.servables.core.errors import ServableError
from topicserve.servables.sources.regular_files import read_regular_file
from topicserve.worker.config.faults import join, not_a_table, shown
from topicserve.worker.config.flags import FLAG_BY_KEY
from topicserve.worker.config.schema import ConfigError, WorkerConfig
from topicserve.worker.config.texts import Text, split_list

PREFIX = "TOPICSERVE_"
_MAX_FILE_BYTES = 16 * 1024 * 1024
_MAX_SECRET_BYTES = 64 * 1024
# Keys whose own name ends so.
_KEYS_OF_FILES = ("model_config_file",)
_KEYS = WorkerConfig.__struct_fields__

Tree = dict[str, Any]


def put_together(
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    sources: dict[str, str],
) -> Tree:
    """Return the tables with everything that was given, and note where it came from."""
    tree = _read_file(path) if path is not None else {}
    tree["servables"] = _by_name(tree.get("servables", []))
    if path is not None:
        sources |= {key: str(path) for key in _keys_of(tree, "")}
    _apply_environment(tree, environ, sources)
    _apply_flags(tree, flags, sources)
    tree["servables"] = _with_names(tree["servables"])
    return tree


def _keys_of(table: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yield the dotted keys of everything in a table, the tables in it too."""
    for name, value in table.items():
        inner = join(key, name)
        yield inner
        if isinstance(value, Mapping):
            yield from _keys_of(value, inner)


def _read_file(path: Path) -> Tree:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(str(path), f"cannot be read: {reason}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError(str(path), f"is larger than {_MAX_FILE_BYTES} bytes")
    try:
        return tomllib.loads(content.decode())
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError and too long a number are
        raise ConfigError(str(path), f"is not TOML: {error}") from None


def _by_name(servables: object) -> Tree:
    """Return the [[servables]] by their names, so that the environment can point at one."""
    if not isinstance(servables, list):
        raise ConfigError("servables", "must be tables headed [[servables]]")
    named: Tree = {}
    for index, table in enumerate(servables):
        key = f"servables[{index}]"
        if not isinstance(table, dict):
            raise not_a_table(key)
        name = table.pop("name", None)
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{key}.name", "must be the servable's name")
        if name in named:
            raise ConfigError(f"{key}.name", f"{shown(name)} is there twice")
        named[name] = table
    return named


def _with_names(named: object) -> list[Tree]:
    """Return the servables as the list that they are in the file."""
    if not isinstance(named, dict):
        raise ConfigError("servables", "must be tables headed [[servables]]")
    listed = []
    for name, table in named.items():
        key = f"servables.{name}"
        if not isinstance(table, dict):
            raise not_a_table(key)
        if "name" in table:
            raise ConfigError(f"{key}.name", "is not a key here; the name stands before it")
        listed.append({"name": name, **table})
    return listed


def _apply_environment(tree: Tree, environ: Mapping[str, str], sources: dict[str, str]) -> None:
    # Sorted, so that of several wrong variables the same one is reported each time.
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX):
            path = variable.removeprefix(PREFIX).lower().split("__")
            if len(path) == 1 and not {path[0], path[0].removesuffix("_file")} & set(_KEYS):
                _refuse_slip(variable, path[0])
                continue
            path, text = _from_file(path, text, variable, environ)
            _set(tree, _places(tree, path), Text(text, variable), sources)


def _from_file(
    path: list[str], text: str, variable: str, environ: Mapping[str, str]
) -> tuple[list[str], str]:
    """Return a key and its value, read from the file that a variable `..._FILE` names."""
    key = path[-1].removesuffix("_file")
    is_file = key and key != path[-1] and path[0] not in _KEYS_OF_FILES
    # The options of a kind or of a body are its own to name.
    is_option = path[0] == "bodies" or (path[0] == "servables" and "options" in path[2:3])
    if not is_file or is_option:
        return path, text
    if variable.removesuffix("_FILE") in environ:
        raise ConfigError(variable, f"and {variable.removesuffix('_FILE')} exclude each other")
    try:
        content = read_regular_file(text, _MAX_SECRET_BYTES).decode()
    # The path is not shown: it may be the secret itself, put where its file should be named.
    except UnicodeDecodeError:
        raise ConfigError(variable, "names a file that is not UTF-8 text") from None
    except ServableError as error:
        problem = str(error).removeprefix(f"{text}: ")
        raise ConfigError(variable, f"names a file that cannot be used: {problem}") from None
    return [*path[:-1], key], content.rstrip("\r\n")


def _refuse_slip(variable: str, name: str) -> None:
    """Refuse what is nearly one of our variables; the rest is another's.

    Kubernetes puts TOPICSERVE_PORT and the like there for a service of that name.
    """
    close = difflib.get_close_matches(name, _KEYS, n=1, cutoff=0.85)
    if close:
        raise ConfigError(variable, f"is not a key; did you mean {PREFIX}{close[0].upper()}?")


def _places(tree: Tree, path: list[str]) -> list[str]:
    """Return the keys that a variable's parts stand for."""
    if path[0] == "kafka" and len(path) == 3:
        return [*path[:2], path[2].replace("_", ".")]
    if path[0] == "servables" and len(path) > 2:
        names = {_as_variable(name): name for name in tree["servables"]}
        return [path[0], names.get(path[1], path[1]), *path[2:]]
    return path


def _as_variable(name: str) -> str:
    return re.sub(r"\W", "_", name.lower())


def _apply_flags(tree: Tree, flags: Mapping[str, object], sources: dict[str, str]) -> None:
    for key, value in flags.items():
        if value is None:
            continue
        source = FLAG_BY_KEY.get(key, key)
        if isinstance(value, Sequence) and not isinstance(value, (str, Text)):
            value = [Text(str(one), source) for one in value]
        value = Text(value, source) if isinstance(value, str) else value
        _set(tree, _split(key), value, sources)


def _split(key: str) -> list[str]:
    """Return a dotted key's parts; a Kafka setting's own dots stay."""
    if key.startswith("kafka."):
        return key.split(".", 2)
    return key.split(".")


def _set(tree: Tree, path: Sequence[str], value: object, sources: dict[str, str]) -> None:
    """Put a value at its place, making the tables on the way, and note where it came from."""
    if path == ["servables"]:
        for name, base_path in _pairs(value):
            _set(tree, ["servables", name, "base_path"], base_path, sources)
        return
    texts = value if isinstance(value, list) else [value]
    for one in texts:
        if isinstance(one, Text):
            sources[".".join(path)] = one.source
    table, key = tree, ""
    for name in path[:-1]:
        key = join(key, name)
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise not_a_table(key)
    table[path[-1]] = value


def _pairs(value: object) -> Iterator[tuple[str, Text]]:
    """Yield the servables of NAME=BASE_PATH[,NAME=BASE_PATH...], or of a list of such pairs."""
    pairs = split_list(value) if isinstance(value, Text) else value
    if not isinstance(pairs, list):
        raise ConfigError("servables", "must be NAME=BASE_PATH")
    for pair in pairs:
        name, _, base_path = pair.text.partition("=")
        if not name or not base_path:
            raise ConfigError("servables", f"must be NAME=BASE_PATH (from {pair.source})")
        yield name, Text(base_path, pair.source)
