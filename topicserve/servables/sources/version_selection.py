"""Which of the directories under a base path are aspired. Pure functions.

They take names and numbers; `monitored_servable.py` has looked at the directories.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence

from topicserve.servables.server.servable_config import VersionPolicy, VersionPolicyKind

_VERSION = re.compile(r"[0-9]+", re.ASCII)
MAX_VERSION = 2**63 - 1


def parse_versions(names: Iterable[str]) -> dict[int, list[str]]:
    """Return the names that are versions, by number: digits only, up to 2^63 - 1.

    Of several names of one number (1 and 001) the plain one is first, then the others from the
    last in alphabetical order.
    """
    versions: dict[int, list[str]] = {}
    for name in sorted(names, reverse=True):
        if _VERSION.fullmatch(name) is None or int(name) > MAX_VERSION:
            continue
        versions.setdefault(int(name), []).append(name)
    for number, found in versions.items():
        found.sort(key=lambda name: name != str(number))
    return versions


def select_versions(
    found: Iterable[int],
    policy: VersionPolicy,
    protected: Iterable[int],
    is_complete: Callable[[int], bool],
    reserved: Collection[int] = (),
) -> list[int]:
    """Return the versions that are aspired: those of the policy, and those that are protected.

    Only complete ones count, and those that are `reserved` are not counted among the latest.
    `is_complete` is asked no more than it takes: it looks at files.
    """
    present = sorted(found, reverse=True)
    wanted = _by_policy(present, policy, is_complete, reserved)
    also = [
        version
        for version in sorted(set(protected), reverse=True)
        if version in present and version not in wanted and is_complete(version)
    ]
    return wanted + also


def _by_policy(
    present: Sequence[int],
    policy: VersionPolicy,
    is_complete: Callable[[int], bool],
    reserved: Collection[int],
) -> list[int]:
    if policy.kind is VersionPolicyKind.LATEST:
        latest: list[int] = []
        for version in present:
            if version in reserved:
                continue
            if len(latest) < max(1, policy.num_versions) and is_complete(version):
                latest.append(version)
        return latest
    listed = set(policy.versions)
    return [
        version
        for version in reversed(present)
        if (policy.kind is VersionPolicyKind.ALL or version in listed) and is_complete(version)
    ]
