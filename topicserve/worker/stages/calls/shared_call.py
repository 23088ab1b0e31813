"""A call that records share, and the further calls that show whether each got its own answer."""

from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from numpy.typing import NDArray

from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import ResourceExhaustedError, ServableError
from topicserve.servables.kinds.servable import Servable
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.request import CallOutput

Outputs = Mapping[str, NDArray[Any]]


class Difference(NamedTuple):
    """What a record was answered otherwise alone; the output is empty where the call failed."""

    output: str
    problem: str


class UndecidedError(TopicserveError):
    """A further call failed for a reason that passes, which says nothing."""


class SharedCall:
    """What records that share a call were fed with and answered."""

    def __init__(
        self, servable: Servable, signature_name: str, feed: Feed, size: int, answers: CallOutput
    ) -> None:
        self.feed = feed
        self.size = size
        """How many rows it had, padding included."""
        self.outputs: Outputs = answers.outputs
        self.whole = answers.whole
        counts = [1] * len(feed.requests) if feed.counts is None else feed.counts
        self.starts = [0, *accumulate(counts)]
        self._servable = servable
        self._signature_name = signature_name

    def record(self, index: int) -> Feed:
        """Return the feed of one record alone."""
        return self.feed.part(slice(index, index + 1))

    def rows(self, index: int) -> slice:
        """Return where a record's rows are."""
        return slice(self.starts[index], self.starts[index + 1])

    def of_rows(self, outputs: Outputs, name: str, rows: slice) -> NDArray[Any]:
        """Return some rows of an output, or all of one that belongs to the whole call."""
        return outputs[name] if name in self.whole else outputs[name][rows]

    def predict(self, feed: Feed, size: int) -> Outputs | BaseException:
        """Return what another call gives, or raises.

        UndecidedError where it fails for a reason that passes.
        """
        try:
            outputs = feed.predict(self._servable, self._signature_name, size)
            return feed.answers(outputs, size).outputs
        # A kind of a user's own may raise anything; it is an answer, too.
        except BaseException as error:
            if is_passing(error):
                raise UndecidedError from None
            return error

    @cached_property
    def again(self) -> Outputs | BaseException:
        """What the same call gives a second time."""
        return self.predict(self.feed.part(slice(None)), self.size)


def is_passing(error: BaseException) -> bool:
    """Return whether the same call may succeed later."""
    is_retriable = isinstance(error, ServableError) and error.retriable
    return is_retriable or isinstance(error, (MemoryError, ResourceExhaustedError))
