"""Says in words what lies under a base path where no version is found, and what one is called."""

import re
from collections.abc import Iterable, Sequence

from topicserve.servables.sources.version_selection import MAX_VERSION, parse_versions

# v1, 0.2, 1-2, 20 digits: meant as versions, most likely. Not 1.making or a date with words.
_LIKE_A_VERSION = re.compile(r"[vV]?\d+([._-]\d+)*", re.ASCII)
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
_NAMED = 3


def almost_versions(directories: Iterable[str]) -> list[str]:
    """Return the names that look like versions and are none."""
    return [
        name
        for name in directories
        if _LIKE_A_VERSION.fullmatch(name) and not parse_versions([name])
    ]


def what_was_seen(base_path: str, directories: Sequence[str], files: Sequence[str]) -> str:
    """Return which names are there instead of versions, and the remedy; empty without any."""
    path = base_path.rstrip("/")
    parent, _, own_name = path.rpartition("/")
    if not directories and not files:
        return ""
    saved_models = [name for name in files if name in _SAVED_MODEL]
    if saved_models:
        remedy = f"move it to {path}/1"
        if parse_versions([own_name]):
            remedy = f"set base_path to {parent or '/'}"
        return (
            f"it holds {_quoted(saved_models)}, so it is a version itself: {remedy}; {_rule(path)}"
        )
    return f"found {_quoted([*almost_versions(directories), *directories, *files])}; {_rule(path)}"


def beside_versions(base_path: str, directories: Sequence[str]) -> str:
    """Return which directories are passed over beside versions though they look like some."""
    several = next((one for one in parse_versions(directories).values() if len(one) > 1), None)
    if several is not None:
        return f"{_quoted(several)} are one version; the first of them that is complete is taken"
    names = almost_versions(directories)
    return f"{_quoted(names)} ignored; {_rule(base_path.rstrip('/'))}" if names else ""


def _rule(path: str) -> str:
    return f"a version is a directory named by a number from 0 to {MAX_VERSION}, such as {path}/1"


def _quoted(names: Sequence[str]) -> str:
    different = list(dict.fromkeys(names))
    more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
    return ", ".join(map(repr, different[:_NAMED])) + more
