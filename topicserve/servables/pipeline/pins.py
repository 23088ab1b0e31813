"""The versions that one call of a pipeline uses, all from one moment."""

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from topicserve.servables.errors import InvalidArgumentError, NotFoundError, UnavailableError
from topicserve.servables.servable import Servable
from topicserve.servables.servable_request import ServableRequest

if TYPE_CHECKING:
    from topicserve.servables.kinds import KindContext

Pins = Mapping[ServableRequest, Servable]


class BuiltOnServables(ABC):
    """A servable that calls others.

    A class to derive from: a protocol would take ten times longer to find in every call.
    """

    requests: Sequence[ServableRequest]
    """What it calls."""


@contextmanager
def pinned(context: "KindContext", requests: Sequence[ServableRequest]) -> Iterator[Pins]:
    """Yield a servable a request, all available at one moment, loaded until the block ends.

    Where one of them is a pipeline itself, what that calls is among them. UnavailableError where
    one is missing: it may be on its way.
    """
    wanted = list(dict.fromkeys(requests))
    while True:
        with ExitStack() as handles:
            pins = _take(context, wanted, handles)
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
    context: "KindContext", wanted: Sequence[ServableRequest], handles: ExitStack
) -> dict[ServableRequest, Servable]:
    try:
        taken = context.get_servable_handles(wanted)
    except (NotFoundError, InvalidArgumentError) as error:
        raise UnavailableError(f"a step's servable is missing: {error}") from error
    for handle in taken:
        handles.enter_context(handle)
    return {request: one.servable for request, one in zip(wanted, taken, strict=True)}
