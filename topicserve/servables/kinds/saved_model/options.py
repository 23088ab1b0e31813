"""The options of the kind `saved_model`."""

import os
from typing import Annotated

from msgspec import Meta

from topicserve.servables.kinds.options import KindOptions


class SavedModelOptions(KindOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a SavedModel is loaded and called."""

    tags: tuple[str, ...] = ("serve",)
    """Which of the graphs in the file."""
    session_threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Threads for this servable alone; by default it shares TensorFlow's, one a core.

    With 1 it is run by the threads that call it, as short calls are by default.
    """
    allow_soft_placement: bool = False
    """Whether an operation pinned to a device that is not there, such as a GPU, runs on another."""
    gpu_memory_growth: bool = False
    """Whether TensorFlow takes a GPU's memory as it needs it. By default it takes nearly all of it
    with the first load. It has one pool a GPU: this holds for all servables of the worker."""
    op_libraries: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")], ...] = ()
    """Python modules to import before the first load: they register the ops that the graph has."""
    batch_records: bool | None = None
    """Whether records share a call. By default where the signature shows what has rows. False: each
    has a call of its own, tensors whole, as TF Serving without batching. True: tensors of unknown
    rank have rows, and outputs for the whole call do not depend on them."""
    warm_up: bool = True
    """Whether the requests in assets.extra/tf_serving_warmup_requests are run before it serves."""
    warm_up_iterations: Annotated[int, Meta(ge=1, le=1000)] = 1
    """How often each of them is run."""


def let_gpu_memory_grow() -> None:
    """Let TensorFlow take the memory of GPUs as it needs it, whichever session comes first.

    Its pool is made with the first session, by that one's options, unless this variable is set.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def give_sessions_their_own_threads() -> None:
    """Let each session have threads inside of operations, as many as its options say.

    Otherwise those of the first session serve all later ones. TensorFlow looks at it once, when the
    first session is made, so when adapters are made, before anything is loaded.
    """
    os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
