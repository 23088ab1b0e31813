"""A SavedModel in a session, loaded and called as TF Serving does."""

import gc
import logging
import os
from collections.abc import Mapping
from typing import Any

from topicserve.servables.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    ServableError,
)
from topicserve.servables.predict_checks import unknown_signature
from topicserve.servables.saved_model.binding import BoundSignature, bind_signature
from topicserve.servables.saved_model.options import SavedModelOptions
from topicserve.servables.saved_model.runtime import Session, tf, translate
from topicserve.servables.saved_model.signature_call import SignatureCall
from topicserve.servables.saved_model.warm_up import warm_up
from topicserve.servables.servable import Columns, Signature

_logger = logging.getLogger(__name__)

# A graph with its weights in it is found by the collector alone, and a collection stops all threads
# for a sixth of a second; small graphs may lie until the next one.
_COLLECT_GRAPHS_OF_BYTES = 8 * 1024 * 1024


class SavedModel:
    """A loaded SavedModel: all of its signatures that are about plain tensors.

    Opens what TF Serving opens, TF 1 and TF 2 exports alike, through a session of its own and
    tf.compat.v1.saved_model.loader. `predict` may be called by any number of threads; `close` only
    after the last of them.
    """

    def __init__(
        self, session: Session, calls: Mapping[str, SignatureCall], graph_bytes: int
    ) -> None:
        self._session = session
        self._calls = dict(calls)
        self._graph_bytes = graph_bytes
        self.signatures: Mapping[str, Signature] = {
            name: call.signature for name, call in calls.items()
        }

    @classmethod
    def load(cls, path: str, options: SavedModelOptions) -> "SavedModel":
        """Load the SavedModel in a directory and warm it up.

        Raises NotFoundError where there is none, DataLossError where a file is damaged,
        InvalidArgumentError where it has no graph of these tags, each naming the path; then
        nothing is left behind.
        """
        session = Session(options.session_threads)
        try:
            meta_graph = _load_graph(session, path, options.tags)
            bound = _bind_signatures(session, meta_graph, path)
            if options.warm_up:
                tensors = {name: one.tensors for name, one in bound.items()}
                warm_up(path, tensors, options.warm_up_iterations)
        except BaseException:
            session.close()
            raise
        calls = {name: one.call for name, one in bound.items()}
        return cls(session, calls, meta_graph.graph_def.ByteSize())

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        """Return output columns of as many rows as came in.

        What TensorFlow raises comes as the ServableError of its status: InvalidArgumentError is
        these inputs' fault.
        """
        call = self._calls.get(signature_name)
        if call is None:
            raise unknown_signature(signature_name, self._calls)
        return call.predict(inputs)

    def close(self) -> None:
        """Give the memory back."""
        self._calls.clear()
        self._session.close()
        del self._session
        if self._graph_bytes > _COLLECT_GRAPHS_OF_BYTES:
            gc.collect()


def _load_graph(session: Session, path: str, tags: tuple[str, ...]) -> Any:
    if not os.path.isdir(path):
        raise NotFoundError(f"{path}: there is no such directory")
    try:
        with session.graph.as_default():
            return tf.compat.v1.saved_model.loader.load(session, list(tags), path)
    except tf.errors.OpError as error:
        found = translate(error)
        raise type(found)(f"{path}: {found}") from error
    except OSError as error:
        kind = NotFoundError if "does not exist" in str(error) else DataLossError
        raise kind(f"{path}: {error}") from error
    # The loader's own checks: tags that are not there, a graph that cannot be imported.
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(f"{path}: {error}") from error


def _bind_signatures(session: Session, meta_graph: Any, path: str) -> dict[str, BoundSignature]:
    """Return what can be called; as in TF Serving, a signature at fault leaves the others alone."""
    bound, problems = {}, []
    for name, signature_def in meta_graph.signature_def.items():
        if name.startswith("__saved_model_"):  # initializers and the like, of TensorFlow's own
            continue
        try:
            bound[name] = bind_signature(session, signature_def)
        except ServableError as error:
            problems.append(f"signature {name!r} cannot be called: {error}")
            _logger.warning("%s: %s", path, problems[-1])
    if not bound:
        reason = "; ".join(problems[:3]) or "it has no signatures"
        raise InvalidArgumentError(f"{path}: nothing in it can be called: {reason}")
    return bound
