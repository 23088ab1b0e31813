"""A SavedModel in a session, loaded and called as TF Serving does."""

import gc
import logging
from collections.abc import Collection, Mapping
from itertools import accumulate
from typing import Any

from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ServableError,
)
from topicserve.servables.kinds.predict_checks import unknown_signature
from topicserve.servables.kinds.saved_model.binding import BoundSignature, bind_signature
from topicserve.servables.kinds.saved_model.graph.dataflow import Dataflow
from topicserve.servables.kinds.saved_model.graph.load_graph import load_graph
from topicserve.servables.kinds.saved_model.graph.variables import certain_reads, find_uninitialized
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.runtime import Session, op_def
from topicserve.servables.kinds.saved_model.signature_call import SignatureCall
from topicserve.servables.kinds.saved_model.warm_up import warm_up
from topicserve.servables.kinds.servable import Columns, Signature
from topicserve.servables.kinds.signature_def import why_alone
from topicserve.servables.server.model_metadata import signature_def_json

DEFAULT_SIGNATURE = "serving_default"

# Of what a line says about signatures; a log cuts longer ones.
MAX_TOLD_CHARACTERS = 700

_logger = logging.getLogger(__name__)

# A graph with its weights in it is found by the collector alone, and a collection stops all threads
# for a sixth of a second; small graphs may lie until the next one.
_LARGE_GRAPH_BYTES = 8 * 1024 * 1024


class SavedModel:
    """A loaded SavedModel: all of its signatures that are about plain tensors.

    Opens what TF Serving opens, TF 1 and TF 2 exports alike, through a session of its own and
    tf.compat.v1.saved_model.loader. `predict` may be called by any number of threads; `close` only
    after the last of them.
    """

    returns_new_arrays = True

    def __init__(
        self,
        session: Session,
        calls: Mapping[str, SignatureCall],
        graph_bytes: int,
        signature_defs: Mapping[str, Any],
    ) -> None:
        self._session = session
        self._calls = dict(calls)
        self._graph_bytes = graph_bytes
        self.signature_defs = signature_defs
        """All SignatureDefs of the graph as JSON, those that cannot be called included."""
        self.signatures: Mapping[str, Signature] = {
            name: call.signature for name, call in calls.items()
        }

    @classmethod
    def load(cls, path: str, options: SavedModelOptions) -> "SavedModel":
        """Load the SavedModel in a directory and warm it up.

        Raises NotFoundError where there is none, DataLossError where a file is damaged,
        InvalidArgumentError where it has no graph of these tags, FailedPreconditionError where
        variables that every call needs hold no value, each naming the path; then nothing is left
        behind.
        """
        session = Session(
            options.session_threads, allow_soft_placement=options.allow_soft_placement
        )
        try:
            meta_graph = load_graph(session, path, options.tags)
            graph_bytes = meta_graph.graph_def.ByteSize()
            session.has_large_graph = graph_bytes > _LARGE_GRAPH_BYTES
            bound = _bind_signatures(session, meta_graph, path, options.batch_records)
            if options.warm_up:
                tensors = {name: one.tensors for name, one in bound.items()}
                warm_up(path, tensors, options.warm_up_iterations)
        except BaseException:
            session.close()
            raise
        calls = {name: one.call for name, one in bound.items()}
        signature_defs = {
            name: signature_def_json(one) for name, one in meta_graph.signature_def.items()
        }
        return cls(session, calls, graph_bytes, signature_defs)

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        """Return the outputs, those with rows of as many as came in.

        What TensorFlow raises comes as the ServableError of its status: InvalidArgumentError is
        these inputs' fault.
        """
        return self._call(signature_name).predict(inputs)

    def predict_outputs(
        self, inputs: Columns, signature_name: str, outputs: Collection[str]
    ) -> Columns:
        """Return these outputs, and run what they need alone."""
        return self._call(signature_name).predict(inputs, outputs)

    def _call(self, signature_name: str) -> SignatureCall:
        call = self._calls.get(signature_name)
        if call is None:
            raise unknown_signature(signature_name, self._calls)
        return call

    def close(self) -> None:
        """Give the memory back."""
        self._calls.clear()
        self._session.close()
        del self._session
        if self._graph_bytes > _LARGE_GRAPH_BYTES:
            gc.collect()


def _bind_signatures(
    session: Session, meta_graph: Any, path: str, batch_records: bool | None
) -> dict[str, BoundSignature]:
    """Return what can be called; as in TF Serving, a signature at fault leaves the others alone.

    FailedPreconditionError where the default one is certain to fail on every record.
    """
    uninitialized = find_uninitialized(session)
    dataflow = Dataflow(meta_graph.graph_def, op_def)
    bound, problems = {}, []
    for name, signature_def in meta_graph.signature_def.items():
        if name.startswith("__saved_model_"):  # initializers and the like, of TensorFlow's own
            continue
        try:
            bound[name] = bind_signature(session, signature_def, dataflow, batch_records)
            if uninitialized:
                _check_variables(session, uninitialized, meta_graph, name)
        except ServableError as error:
            bound.pop(name, None)
            problems.append(f"signature {name!r} cannot be called: {error}")
            _logger.warning("%s: %s", path, problems[-1])
            if isinstance(error, FailedPreconditionError) and name == DEFAULT_SIGNATURE:
                raise FailedPreconditionError(f"{path}: {problems[-1]}") from None
    if not bound:
        reason = "; ".join(problems[:3]) or "it has no signatures"
        raise InvalidArgumentError(f"{path}: nothing in it can be called: {reason}")
    if batch_records is None:
        _log_what_is_alone(path, bound)
    return bound


def _log_what_is_alone(path: str, bound: Mapping[str, BoundSignature]) -> None:
    """Log what costs a call a record: the owner may know the model better than its shapes say.

    Every signature is named, in as few lines as a log shows whole.
    """
    reasons = {name: why_alone(one.call.signature) for name, one in bound.items()}
    alone = [f"{name!r}: {reason}" for name, reason in reasons.items() if reason is not None]
    while alone:
        lengths = accumulate(len(told) + 2 for told in alone)
        count = max(1, sum(length <= MAX_TOLD_CHARACTERS for length in lengths))
        _logger.info(
            "%s: signatures called for each record alone (option batch_records): %s",
            path,
            "; ".join(alone[:count]),
        )
        alone = alone[count:]


def _check_variables(
    session: Session, uninitialized: list[Any], meta_graph: Any, signature_name: str
) -> None:
    """Raise FailedPreconditionError where the signature is certain to read one of them."""
    outputs = meta_graph.signature_def[signature_name].outputs.values()
    names = certain_reads(
        session,
        uninitialized,
        [output.name for output in outputs],
        meta_graph.graph_def.library.function,
    )
    if names:
        first = ", ".join(map(repr, names[:3]))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise FailedPreconditionError(
            f"the variables {first}{more} have no value: they were not saved with the model. "
            "Export a Keras model with model.export(path)"
        )
