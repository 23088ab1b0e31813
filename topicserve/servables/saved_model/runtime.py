"""The one place that imports TensorFlow, with what must be settled before.

Importing takes seconds and hundreds of megabytes, so nothing but a load leads here.
"""

import logging
import os

# TensorFlow's oneDNN builds keep a pool of their own that never gives memory back: after the unload
# of a 100 MB model its 100 MB stay taken. The system's allocator returns them, at the same speed.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from topicserve.servables.errors import ServableError
from topicserve.servables.status_errors import error_of_status

__all__ = ["CallableOptions", "new_session", "tf", "translate"]


def _is_no_deprecation(record: logging.LogRecord) -> bool:
    return "is deprecated and will be removed" not in str(record.msg)


# The loader says at every start that it is deprecated; whoever reads a worker's log cannot help it.
tf.get_logger().addFilter(_is_no_deprecation)

_STATUS_NAMES = {
    number: name for name, number in vars(tf.errors).items() if isinstance(number, int)
}


def translate(error: tf.errors.OpError) -> ServableError:
    """Return what TensorFlow says in the core's words."""
    return error_of_status(_STATUS_NAMES.get(error.error_code, "UNKNOWN"), error.message)


def new_session(threads: int | None) -> tf.compat.v1.Session:
    """Return a session with an empty graph of its own.

    Its operations run on `threads` threads that nobody shares (`give_sessions_their_own_threads`
    must have been called before the first session), or where that is None on TensorFlow's own.
    """
    config = tf.compat.v1.ConfigProto()
    if threads is not None:
        config.use_per_session_threads = True
        config.intra_op_parallelism_threads = threads
        config.inter_op_parallelism_threads = threads
    return tf.compat.v1.Session(graph=tf.Graph(), config=config)
