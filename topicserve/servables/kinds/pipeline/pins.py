"""The versions that one call of a pipeline uses, all from one moment."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError, UnavailableError
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.servable import Servable

if TYPE_CHECKING:
    from topicserve.servables.kinds.registry import KindContext

Pins = Mapping[ServableRequest, Servable]
NOTHING: Mapping[str, int] = {}


class Held(NamedTuple):
    """A servable whose steps are of one moment and stay loaded."""

    servable: Servable
    latest: Mapping[str, int]
    """The version of each step that names neither a version nor a label, by its name."""


class BuiltOnServables(ABC):
    """A servable that calls others.

    A class to derive from: a protocol would take ten times longer to find in every call.
    """

    requests: Sequence[ServableRequest]
    """What it calls."""

    @abstractmethod
    def hold(self, instead: Mapping[str, int] = NOTHING) -> AbstractContextManager[Held]:
        """Hold its steps for several calls, with these versions `instead` of the latest.

        UnavailableError where a step is missing.
        """


@contextmanager
def pinned(
    context: "KindContext",
    requests: Sequence[ServableRequest],
    instead: Mapping[str, int] = NOTHING,
    latest: dict[str, int] | None = None,
) -> Iterator[Pins]:
    """Yield a servable a request, all available at one moment, loaded until the block ends.

    Where one of them is a pipeline itself, what that calls is among them. UnavailableError where
    one is missing: it may be on its way. The versions `instead` are taken for the latest of these
    names; `latest` is filled with what the latest of each name is.
    """
    wanted = list(dict.fromkeys(requests))
    while True:
        with ExitStack() as handles:
            pins = _take(context, wanted, handles, instead, {} if latest is None else latest)
            further = [
                request
                for servable in pins.values()
                if isinstance(servable, BuiltOnServables)
                for request in servable.requests
                if request not in pins
            ]
            if not further:
                yield pins
                return
        # All at once again: taken one after the other they would be of different moments.
        wanted = list(dict.fromkeys([*wanted, *further]))


def _take(
    context: "KindContext",
    wanted: Sequence[ServableRequest],
    handles: ExitStack,
    instead: Mapping[str, int],
    latest: dict[str, int],
) -> dict[ServableRequest, Servable]:
    asked = wanted if not instead else [_other(request, instead) for request in wanted]
    try:
        taken = context.get_servable_handles(asked)
    except (NotFoundError, InvalidArgumentError) as error:
        raise UnavailableError(f"a step's servable is missing: {error}") from error
    for handle in taken:
        handles.enter_context(handle)
    for request, handle in zip(wanted, taken, strict=True):
        if request == ServableRequest.latest(request.name):
            latest[request.name] = handle.id.version
    return {request: one.servable for request, one in zip(wanted, taken, strict=True)}


def _other(request: ServableRequest, instead: Mapping[str, int]) -> ServableRequest:
    version = instead.get(request.name)
    if version is None or request != ServableRequest.latest(request.name):
        return request
    return ServableRequest.specific(request.name, version)
