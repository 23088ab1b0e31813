"""Restores the variables of a SavedModel where TensorFlow's Python loader would not.

It refuses two models that TensorFlow Serving's own loader opens: one without files under variables/
that has nothing to restore either, and one under a path with wildcards, since it looks for the
files with a glob pattern.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from topicserve.servables.kinds.saved_model.runtime import SavedModelLoader, tf

# What TensorFlow's file systems take for a pattern.
_WILDCARDS = frozenset("*?[\\")
# How the objects of a TF 2 model hang together: in every checkpoint, and of no use to a session.
_OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"


class RestoringLoader(SavedModelLoader):  # type: ignore[misc]  # the library is untyped
    """TensorFlow's loader, for all paths and for models without variables."""

    _variables_path: str

    def restore_variables(self, sess: Any, saver: Any, import_scope: str | None = None) -> None:
        """Restore what the graph has to restore; its parent's signature."""
        path = self._variables_path
        has_index = os.path.exists(f"{path}.index")
        if not has_index and not restores_values(sess.graph.as_graph_def()):
            return
        directory, name = os.path.split(path)
        with without_wildcards(directory) as plain:
            self._variables_path = os.path.join(plain, name)
            try:
                super().restore_variables(sess, saver, import_scope)
            except tf.errors.OpError as error:
                message = str(error.message).replace(plain, directory)
                raise type(error)(error.node_def, error.op, message) from error
            finally:
                self._variables_path = path


def restores_values(graph_def: Any) -> bool:
    """Return whether a graph, or a function of it, reads values out of a checkpoint.

    Where it cannot be seen what is read, it does.
    """
    functions = [function.node_def for function in graph_def.library.function]
    return any(_restores(nodes) for nodes in [graph_def.node, *functions])


def _restores(nodes: Sequence[Any]) -> bool:
    constants = {node.name: node for node in nodes if node.op == "Const"}
    for node in nodes:
        if node.op not in ("RestoreV2", "Restore", "RestoreSlice"):
            continue
        names = constants.get(node.input[1].partition(":")[0])
        if names is None or set(names.attr["value"].tensor.string_val) != {_OBJECT_GRAPH}:
            return True
    return False


@contextmanager
def without_wildcards(directory: str) -> Iterator[str]:
    """Yield a path to this directory in which nothing reads as a pattern: a link, if need be."""
    if _WILDCARDS.isdisjoint(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="topicserve-") as temporary:
        link = os.path.join(temporary, os.path.basename(directory))
        os.symlink(os.path.abspath(directory), link, target_is_directory=True)
        yield link
