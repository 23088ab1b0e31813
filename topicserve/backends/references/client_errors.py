"""Sorts what files and clients of stores raise: what another try may change, and what it may not.

Each file system of fsspec has a client of its own. Most translate what a store answers to an
OSError, some keep the HTTP status in an error of theirs.
"""

import errno
from collections.abc import Mapping

from topicserve.backends.errors import BackendError
from topicserve.backends.references.errors import (
    BodyNotFoundError,
    BodyStoreError,
    ReferenceRefusedError,
    StoreRefusedError,
)
from topicserve.errors import error_text

# What a path causes by itself: no other try gives another answer.
_NO_FILE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ),
    *(errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP),
)
_REFUSED = (errno.ELOOP, errno.EACCES, errno.EPERM)
# What takes no file until its place, its rights or its settings are changed.
_NOT_WRITABLE = (*_NO_FILE, *_REFUSED, errno.EEXIST, errno.EROFS, errno.EFBIG)
# A store's answer as a number: s3fs has EINVAL for a bad request, EREMCHG for another region.
_MOVED = getattr(errno, "EREMCHG", errno.EINVAL)
_BAD_REQUEST = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EMSGSIZE, _MOVED)
_BUSY = (errno.EBUSY, errno.EAGAIN)

_NOTHING_THERE = (404, 410)
# Client errors that pass: timeouts, conflicts with another request, and too many requests.
_PASSING = (408, 409, 425, 429)
_MAX_CAUSES = 4


def path_error(url: str, error: OSError) -> BackendError | None:
    """Return the final error of a path that cannot be opened; None for what may pass."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return BodyNotFoundError(f"{url} does not exist")
    if isinstance(error, PermissionError) or error.errno in _REFUSED:
        return ReferenceRefusedError(f"{url} may not be read: {error.strerror or error}")
    if error.errno in _NO_FILE:
        return BodyNotFoundError(f"{url} is no file: {error.strerror}")
    return None


def object_error(url: str, error: Exception) -> BackendError:
    """Return our error for what a file system raises that cannot read an object."""
    status = _client_error(error)
    if status in _NOTHING_THERE:
        return BodyNotFoundError(f"{url} does not exist")
    if status or _is_bad_request(error) or _is_ftp_refusal(error):
        return ReferenceRefusedError(f"{url} may not be read: {error_text(error)}")
    if isinstance(error, OSError) and (final := path_error(url, error)):
        return final
    return BodyStoreError(f"{url} cannot be read: {error_text(error)}")


def write_error(error: Exception) -> BackendError:
    """Return our error for what a file or a file system raises that cannot be written."""
    return (StoreRefusedError if _is_final(error) else BodyStoreError)(error_text(error))


def _is_final(error: Exception) -> bool:
    if _client_error(error) or _is_bad_request(error) or _is_ftp_refusal(error):
        return True
    if not isinstance(error, OSError):
        return False
    # Without a number where a client raises it with a text alone.
    known = (
        *(FileExistsError, FileNotFoundError),
        *(NotADirectoryError, IsADirectoryError, PermissionError),
    )
    return isinstance(error, known) or error.errno in _NOT_WRITABLE


def _is_bad_request(error: Exception) -> bool:
    if not isinstance(error, OSError):
        return False
    # gcsfs has no more than a text for a 403.
    is_forbidden = error.errno is None and str(error).startswith("Forbidden")
    return error.errno in _BAD_REQUEST or is_forbidden


def _is_ftp_refusal(error: Exception) -> bool:
    """Return whether an FTP server has refused for good: its answers from 500 on."""
    return type(error).__module__ == "ftplib" and type(error).__name__ == "error_perm"


def _client_error(error: Exception) -> int | None:
    """Return the HTTP status of an error that a store blames on the request, unless it may pass."""
    if isinstance(error, TimeoutError | ConnectionError):
        return None  # S3 answers 400 where a request took too long
    if isinstance(error, OSError) and error.errno in _BUSY:
        return None
    found: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if found is None:
            return None
        if (status := _http_status(found)) is not None:
            return status if 400 <= status < 500 and status not in _PASSING else None
        found = found.__cause__
    return None


def _http_status(error: BaseException) -> int | None:
    """Return the status that an error has, wherever its client keeps it."""
    for name in ("status", "status_code", "code"):  # aiohttp, azure, gcsfs
        status = getattr(error, name, None)
        if type(status) is int and 400 <= status < 600:
            return status
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        about = response.get("ResponseMetadata")
        status = about.get("HTTPStatusCode") if isinstance(about, Mapping) else None
    else:
        status = getattr(response, "status_code", None)  # requests
    return status if type(status) is int and 400 <= status < 600 else None
