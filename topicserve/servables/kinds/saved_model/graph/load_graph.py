"""Loads a SavedModel's graph into a session, and names the cause where it does not load."""

import os
import re
from typing import Any

from topicserve.servables.core.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    ServableError,
)
from topicserve.servables.kinds.saved_model.restoring import RestoringLoader
from topicserve.servables.kinds.saved_model.runtime import Session, tf, translate

_AVAILABLE_TAGS = re.compile(r"with available tags '(.*?)'\. To inspect", re.DOTALL)
_NO_FILE = "No such file or directory"
_NO_CHECKPOINT = "is not a valid checkpoint"


def load_graph(session: Session, path: str, tags: tuple[str, ...]) -> Any:
    """Return the MetaGraphDef of these tags, loaded, with variables restored and tables filled.

    Raises NotFoundError where a file is missing, DataLossError where one is damaged,
    InvalidArgumentError where there is no graph of these tags, each naming path and cause.
    """
    if not os.path.isdir(path):
        raise NotFoundError(f"{path}: there is no such directory")
    try:
        with session.graph.as_default():
            return RestoringLoader(path).load(session, list(tags))
    # What reading the variables ends in: the graph itself runs nothing else that reads records.
    except (tf.errors.OutOfRangeError, tf.errors.DataLossError) as error:
        raise DataLossError(
            f"{path}: a file under variables/ is damaged or cut short: {translate(error)}"
        ) from error
    except tf.errors.OpError as error:
        found = translate(error)
        kind = NotFoundError if _NO_FILE in str(found) else type(found)
        raise kind(f"{path}: {found}") from error
    except OSError as error:
        if "does not exist" in str(error):
            raise NotFoundError(f"{path}: {error}") from error
        raise DataLossError(
            f"{path}: saved_model.pb cannot be read, or is damaged or cut short: {error}"
        ) from error
    # The loader's own checks: tags that are not there, a graph that cannot be imported.
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise _refused(path, tags, str(error)) from error


def _refused(path: str, tags: tuple[str, ...], message: str) -> ServableError:
    available = _AVAILABLE_TAGS.search(message)
    if available is not None and available[1] == "[]":
        return DataLossError(f"{path}: saved_model.pb holds no graph: it is empty, or cut short")
    if available is not None:
        return InvalidArgumentError(
            f"{path}: no graph has the tags {list(tags)}; saved_model.pb has {available[1]}: "
            "set the option tags to one of these"
        )
    if _NO_CHECKPOINT in message:
        return NotFoundError(f"{path}: variables/variables.index is missing")
    return InvalidArgumentError(f"{path}: {message}")
