"""What to do next with the versions of one stream (core/aspired_version_policy.h).

A policy is a pure function of all managed versions of a stream to at most one action. It knows
neither resources nor time; asked again, it goes on from what has become of its last answer.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from topicserve.servables.core.managers.loader_harness import HarnessState
from topicserve.servables.core.servable_id import ServableId


class Action(Enum):
    """What can be done with a version."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class ServableAction:
    """What to do with which version."""

    action: Action
    id: ServableId


@dataclass(frozen=True, slots=True)
class AspiredServableStateSnapshot:
    """A version at one moment, whether it is wanted, and what it is for."""

    id: ServableId
    state: HarnessState
    is_aspired: bool
    is_named: bool = False
    """Nothing else can answer for it now: a label stands for it, or it is the default."""
    is_reserved: bool = False
    """It never answers by being the highest version: a canary, a shadow."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What versions of one stream are for, besides being the latest."""

    named: frozenset[int] = frozenset()
    reserved: frozenset[int] = frozenset()


def no_roles(name: str) -> Roles:  # noqa: ARG001 (every stream's)
    """Return the roles of a stream where versions are found by number or as the latest only."""
    return Roles()


AspiredVersionPolicy: TypeAlias = Callable[
    [Sequence[AspiredServableStateSnapshot]], ServableAction | None
]


def highest_aspired_new(versions: Iterable[AspiredServableStateSnapshot]) -> ServableId | None:
    """Return the highest version that is aspired and has not been touched yet."""
    new = (one.id for one in versions if one.is_aspired and one.state is HarnessState.NEW)
    return max(new, default=None)


def load_next(versions: Iterable[AspiredServableStateSnapshot]) -> ServableAction | None:
    """Return the load of that version, where there is one."""
    highest = highest_aspired_new(versions)
    return None if highest is None else ServableAction(Action.LOAD, highest)
