"""Opens and lists regular files alone: what else lies in a directory may block, or never end.

What a kind reads of a version itself it opens with this: a FIFO or a device in a model directory
would otherwise hold up a load for ever.
"""

import os
import stat
from collections.abc import Iterator
from io import BufferedReader

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError

MAX_FILES = 50_000
"""And directories, in one version: the largest sharded models have some thousands."""
MAX_DEPTH = 32

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a directory"),
)


def open_regular_file(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file to read bytes, without ever waiting for a writer.

    Raises NotFoundError where it is missing, InvalidArgumentError where it is something else than a
    file or cannot be read.
    """
    # Opening a FIFO waits for its writer otherwise; a regular file takes no notice of the flag.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise NotFoundError(f"{os.fspath(path)}: there is no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidArgumentError(f"{os.fspath(path)}: cannot be opened: {reason}") from None
    try:
        require_regular(os.fstat(descriptor).st_mode, os.fspath(path))
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular_file(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Return a file's content; raises as `open_regular_file` does, and for one that is larger."""
    with open_regular_file(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise InvalidArgumentError(f"{os.fspath(path)}: must have at most {max_bytes} bytes")
    return content


def require_regular(mode: int, path: str) -> None:
    """Raise InvalidArgumentError, which names the path, unless this is a regular file's mode."""
    if stat.S_ISREG(mode):
        return
    found = next((name for holds, name in _KINDS if holds(mode)), "something else")
    raise InvalidArgumentError(f"{path}: must be a regular file, found {found}")


def walk_regular_files(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each file under a directory, by its relative path with slashes; links are followed.

    Files that vanish meanwhile are left out. Raises InvalidArgumentError for what is neither a file
    nor a directory, links that loop, and too many or too deep files; OSError for what cannot be
    read.
    """
    for count, (name, found) in enumerate(_walk(root, "", ())):
        if count >= MAX_FILES:
            raise InvalidArgumentError(f"{root}: must have at most {MAX_FILES} files")
        if not stat.S_ISDIR(found.st_mode):
            yield name, found


def _walk(
    root: str, below: str, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.stat_result]]:
    folder = os.path.join(root, below)
    try:
        own = os.stat(folder)
        children = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return  # taken away while it was looked at
    identity = (own.st_dev, own.st_ino)
    if identity in above:
        raise InvalidArgumentError(f"{folder}: is a link to a directory that it lies in")
    if len(above) >= MAX_DEPTH:
        raise InvalidArgumentError(f"{folder}: lies deeper than {MAX_DEPTH} directories")
    with children:
        for child in children:
            name = f"{below}/{child.name}" if below else child.name
            try:
                found = child.stat()
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(found.st_mode):
                yield name, found  # it counts, too
                yield from _walk(root, name, (*above, identity))
            else:
                require_regular(found.st_mode, os.path.join(root, name))
                yield name, found
