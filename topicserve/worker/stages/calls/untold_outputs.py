"""Whether an output of which no declaration tells has rows, seen by calls with a row more.

In the row formats an output has one value a row where its first dimension is the number of rows
sent, as in TF Serving. That may be chance: three class names beside three rows. So a record's last
row is sent twice, in a second call: an output with rows has one more then.
"""

import threading
from dataclasses import dataclass, replace

from topicserve.servables.kinds.servable import Scope, Servable
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.calls.outputs import check_outputs
from topicserve.worker.stages.request import CallOutput

_ROW_FORMATS = (Form.INSTANCE, Form.INSTANCES)


@dataclass(slots=True)
class _Seen:
    """What second calls showed of one output."""

    grew: int = 0
    stayed: int = 0
    failed: int = 0
    had_other_length: bool = False

    def has_rows(self, calls: int) -> bool | None:
        """Return what is settled by so many calls that agree; None where it must be looked at."""
        if not self.grew and self.stayed >= calls:
            return False
        is_always = not self.stayed and not self.had_other_length
        # Where no second call succeeds, the length alone tells.
        is_unseen = not self.grew and not self.stayed and self.failed >= calls
        return True if is_unseen or (is_always and self.grew >= calls) else None


class UntoldOutputs:
    """What is known of those outputs of one signature of one version. Thread-safe.

    A record's answer follows from its own calls, until the first ones have all shown the same.
    """

    def __init__(self, calls: int) -> None:
        self._lock = threading.Lock()
        self._calls = calls
        self._seen: dict[str, _Seen] = {}

    def settle(
        self, servable: Servable, signature_name: str, feed: Feed, answers: CallOutput
    ) -> CallOutput:
        """Return what a lone record is answered, with outputs whole that have no rows."""
        if not self._calls or not feed.has_rows:
            return answers
        outputs = feed.signature.outputs
        untold = [name for name, spec in outputs.items() if spec.scope is Scope.UNKNOWN]
        with self._lock:
            seen = {name: self._seen.setdefault(name, _Seen()) for name in untold}
            for name in answers.whole & seen.keys():
                seen[name].had_other_length = True
            known = {name: seen[name].has_rows(self._calls) for name in seen.keys() - answers.whole}
        if feed.requests[0].input.form not in _ROW_FORMATS:
            return answers
        due = frozenset(name for name, has_rows in known.items() if has_rows is None)
        whole = {name for name, has_rows in known.items() if has_rows is False}
        if due:
            whole |= self._look(servable, signature_name, feed, due)
        return replace(answers, whole=answers.whole | whole)

    def _look(
        self, servable: Servable, signature_name: str, feed: Feed, names: frozenset[str]
    ) -> frozenset[str]:
        """Return the outputs that have not one row more in a call with one row more.

        None of them where that call fails: a signature may take so many rows and no others.
        """
        try:
            more = feed.with_one_row_more()
            outputs = more.predict(servable, signature_name, more.rows)
            lengths = {n: c.shape[:1] for n, c in check_outputs(outputs, more.rows).items()}
        # A kind of a user's own may raise anything.
        except BaseException:
            with self._lock:
                for name in names:
                    self._seen[name].failed += 1
            return frozenset()
        stayed = frozenset(name for name in names if lengths.get(name) != (more.rows,))
        with self._lock:
            for name in names:
                self._seen[name].stayed += name in stayed
                self._seen[name].grew += name not in stayed
        return stayed
