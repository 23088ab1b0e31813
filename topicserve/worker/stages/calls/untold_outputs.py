"""Whether an output of which no declaration tells has rows, seen by a call with a row more.

In the row formats an output has one value a row where its first dimension is the number of rows
sent, as in TF Serving. That may be chance: three class names beside three rows. So a record's last
row is sent twice, in a second call: an output with rows has one more then. Nothing is kept of it: a
record's answer follows from its own calls, not from which records this replica saw before.
"""

from dataclasses import replace

from topicserve.servables.core.errors import ServableError
from topicserve.servables.kinds.servable import Scope, Servable
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.request import CallOutput

_ROW_FORMATS = (Form.INSTANCE, Form.ROW, Form.INSTANCES)


def with_whole_outputs(
    servable: Servable, signature_name: str, feed: Feed, answers: CallOutput
) -> CallOutput:
    """Return what a lone record is answered, with outputs whole that have no rows.

    Costs a call where an output may have rows. Raises what that call does where it may succeed
    later: without it, the answer would be another one then.
    """
    if not feed.has_rows or feed.requests[0].input.form not in _ROW_FORMATS:
        return answers
    specs = feed.signature.outputs
    untold = {n for n in answers.outputs.keys() - answers.whole if specs[n].scope is Scope.UNKNOWN}
    if not untold:
        return answers
    more = feed.with_one_row_more()
    try:
        outputs = more.predict(servable, signature_name, more.rows)
        lengths = {n: c.shape[:1] for n, c in outputs.items()}
    # A kind of a user's own may raise anything. A signature may take so many rows and no others:
    # then the length alone tells.
    except BaseException as error:
        if isinstance(error, ServableError) and error.retriable:
            raise
        return answers
    stayed = {name for name in untold if lengths.get(name) != (more.rows,)}
    return replace(answers, whole=answers.whole | stayed)
