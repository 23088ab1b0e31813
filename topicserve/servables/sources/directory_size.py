"""How large a version is on disk."""

import os

from topicserve.servables.core.errors import NotFoundError
from topicserve.servables.sources.regular_files import walk_regular_files


def directory_bytes(path: str) -> int:
    """Return the bytes of all files under a directory, or of one file.

    Raises NotFoundError where there is neither.
    """
    if os.path.isfile(path):
        return os.path.getsize(path)
    if not os.path.isdir(path):
        raise NotFoundError(f"{path}: there is no such file or directory")
    return sum(found.st_size for _, found in walk_regular_files(path))
