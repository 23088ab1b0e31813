"""The one place that imports TensorFlow, with what must be settled before.

Importing takes seconds and hundreds of megabytes, so nothing but a load leads here.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

# TensorFlow's oneDNN builds keep a pool of their own that never gives memory back: after the unload
# of a 100 MB model its 100 MB stay taken. The system's allocator returns them, at the same speed.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions, RunOptions
from tensorflow.python.framework import op_def_registry
from tensorflow.python.saved_model.loader_impl import SavedModelLoader

from topicserve.servables.core.errors import InvalidArgumentError, ServableError
from topicserve.servables.kinds.saved_model.calling_thread import CallingThread
from topicserve.servables.kinds.saved_model.causes import explain
from topicserve.servables.kinds.status_errors import error_of_status

__all__ = ["SavedModelLoader", "Session", "op_def", "tf", "translate"]

Array = NDArray[Any]

# What RunOptions.inter_op_thread_pool calls them.
_CALLERS_THREAD, _POOL = -1, 0

_STATUS_NAMES = {
    number: name for name, number in vars(tf.errors).items() if isinstance(number, int)
}


def translate(error: tf.errors.OpError) -> ServableError:
    """Return what TensorFlow says in the core's words."""
    name = _STATUS_NAMES.get(error.error_code, "UNKNOWN")
    return error_of_status(name, explain(error.message or ""))


def op_def(name: str) -> Any:
    """Return an operation's OpDef, None where nothing has registered it."""
    return op_def_registry.get(name)


class Session(tf.compat.v1.Session):  # type: ignore[misc]  # the library is untyped
    """A session with an empty graph of its own."""

    def __init__(self, threads: int | None, *, allow_soft_placement: bool = False) -> None:
        """Run operations on `threads` threads that no one shares, or on TensorFlow's own.

        `give_sessions_their_own_threads` must have been called before the first session. A single
        thread is the caller's: whatever runs one after the other needs no other. Without `threads`,
        short calls are the caller's too.
        """
        config = tf.compat.v1.ConfigProto(allow_soft_placement=allow_soft_placement)
        if threads is not None:
            config.use_per_session_threads = True
            config.intra_op_parallelism_threads = threads
            config.inter_op_parallelism_threads = threads
        super().__init__(graph=tf.Graph(), config=config)
        self._threads = threads
        self.has_large_graph = False
        """Whether a call that is made ready twice, for two threads, would take much memory."""

    def copy_of(self, tensor: str) -> str:
        """Return the name of a new tensor that always equals this one.

        Raises InvalidArgumentError for a tensor that the graph does not have.
        """
        full_name = tensor if ":" in tensor else f"{tensor}:0"
        try:
            with self.graph.as_default():
                copy = tf.identity(self.graph.get_tensor_by_name(full_name))
        except (KeyError, ValueError) as error:
            raise InvalidArgumentError(str(error)) from error
        return str(copy.name)

    def bind(self, feeds: Sequence[str], fetches: Sequence[str]) -> Callable[..., list[Array]]:
        """Return a function of the feeds' arrays that returns the fetches' arrays.

        `Session.make_callable` looks every name up again in every call where it is told feeds: 160
        microseconds for a small network, against 23 through what it would use without (TF 2.21).
        Raises InvalidArgumentError for a tensor that the graph does not have.
        """
        if self._threads == 1:
            return self._bind(feeds, fetches, _CALLERS_THREAD)
        if self._threads is not None or self.has_large_graph:
            return self._bind(feeds, fetches, _POOL)
        return CallingThread(
            self._bind(feeds, fetches, _CALLERS_THREAD), lambda: self._bind(feeds, fetches, _POOL)
        )

    def _bind(
        self, feeds: Sequence[str], fetches: Sequence[str], thread_pool: int
    ) -> Callable[..., list[Array]]:
        run_options = RunOptions(inter_op_thread_pool=thread_pool)
        options = CallableOptions(feed=feeds, fetch=fetches, run_options=run_options)
        try:
            return self._make_callable_from_options(options)  # type: ignore[no-any-return]  # as Keras does
        except tf.errors.OpError as error:
            raise InvalidArgumentError(str(translate(error))) from error
