"""Whether an output of which no declaration tells has rows, seen by calls with a row more.

In the row formats an output has one value a row where its first dimension is the number of rows
sent, as in TF Serving. That may be chance: three class names beside three rows. So a record's last
row is sent twice, in a second call: an output with rows has one more then.
"""

import threading
from dataclasses import replace

import numpy as np

from topicserve.servables.kinds.servable import Columns, Scope, Servable
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.calls.outputs import check_outputs
from topicserve.worker.stages.request import CallOutput

_ROW_FORMATS = (Form.INSTANCE, Form.INSTANCES)


class UntoldOutputs:
    """What is known of those outputs of one signature of one version. Thread-safe.

    A record's answer follows from its own calls. An output that grew in each of the first ones has
    rows, and is looked at no more, until it has another length than a call.
    """

    def __init__(self, calls: int) -> None:
        self._lock = threading.Lock()
        self._calls = calls
        self._left: dict[str, int] = {}
        self._doubtful: frozenset[str] = frozenset()

    def settle(
        self, servable: Servable, signature_name: str, feed: Feed, answers: CallOutput
    ) -> CallOutput:
        """Return what a lone record is answered, with outputs whole that have no rows."""
        if not self._calls or not feed.has_rows:
            return answers
        untold = _untold(feed)
        self._doubt(untold & answers.whole)
        if feed.requests[0].input.form not in _ROW_FORMATS:
            return answers
        due = self._due(untold - answers.whole)
        if not due:
            return answers
        without = _without_rows(servable, signature_name, feed, due)
        self._doubt(without)
        return replace(answers, whole=answers.whole | without)

    def _due(self, names: frozenset[str]) -> frozenset[str]:
        """Return those outputs that are still looked at, each counted as looked at."""
        with self._lock:
            due = frozenset(
                n for n in names if n in self._doubtful or self._left.get(n, self._calls) > 0
            )
            for name in due:
                self._left[name] = self._left.get(name, self._calls) - 1
        return due

    def _doubt(self, names: frozenset[str]) -> None:
        """Look at these in every call from now on: they do not always have rows."""
        if names - self._doubtful:
            with self._lock:
                self._doubtful |= names


def _untold(feed: Feed) -> frozenset[str]:
    outputs = feed.signature.outputs
    return frozenset(name for name, spec in outputs.items() if spec.scope is Scope.UNKNOWN)


def _without_rows(
    servable: Servable, signature_name: str, feed: Feed, names: frozenset[str]
) -> frozenset[str]:
    """Return the outputs that have not one row more in a call with one row more.

    None of them where that call fails: a signature may take so many rows and no others.
    """
    try:
        more = feed.with_one_row_more()
        outputs: Columns = check_outputs(
            more.predict(servable, signature_name, more.rows), more.rows
        )
    # A kind of a user's own may raise anything.
    except BaseException:
        return frozenset()
    return frozenset(
        name
        for name in names
        if name in outputs and not (np.ndim(outputs[name]) and len(outputs[name]) == more.rows)
    )
