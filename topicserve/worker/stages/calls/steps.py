"""A servable made of others, with the versions of one moment for a whole batch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from topicserve.servables.core.errors import UnavailableError
from topicserve.servables.kinds.pipeline.pins import NOTHING, BuiltOnServables, Held
from topicserve.servables.kinds.servable import Servable
from topicserve.worker.stages.request import Trial


@contextmanager
def held(servable: Servable) -> Iterator[Held]:
    """Yield what to call of a servable that is built on others; itself where one is missing."""
    assert isinstance(servable, BuiltOnServables)
    holding = servable.hold()
    try:
        found = holding.__enter__()
    except UnavailableError:
        yield Held(servable, NOTHING)  # its calls say what is missing
        return
    try:
        yield found
    finally:
        holding.__exit__(None, None, None)


def older_steps(steps: Mapping[Trial, int]) -> Iterator[Mapping[str, int]]:
    """Yield which steps' predecessors to try in their place: each one's, then all of them."""
    for trial, predecessor in steps.items():
        yield {trial.name: predecessor}
    if len(steps) > 1:
        yield {trial.name: predecessor for trial, predecessor in steps.items()}
