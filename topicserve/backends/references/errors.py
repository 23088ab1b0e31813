"""What can go wrong with a body that lies at a URL.

BackendError
  ReferenceRefusedError: this URL may not be read  -> final
  BodyNotFoundError: there is nothing at it  -> final
  BodyTooLargeError: the body is larger than allowed  -> final
  BodyMismatchError: the body has another hash  -> final
  BackendUnavailableError
    BodyStoreError: the store does not answer, or not in time  -> back off, try again
      BrokenAnswerError: it does, but the answer is no HTTP  -> try again a few times
"""

import errno

from topicserve.backends.errors import BackendError, BackendUnavailableError


class ReferenceRefusedError(BackendError):
    """The URL may not be read: it is not allowed here, or the store refuses it."""


class BodyNotFoundError(BackendError):
    """There is nothing at the URL."""


class BodyTooLargeError(BackendError):
    """The body is larger than allowed."""


class BodyMismatchError(BackendError):
    """The body has another hash than was given with its URL."""


class BodyStoreError(BackendUnavailableError):
    """The store did not answer, or not in time, or the body was cut off."""


class BrokenAnswerError(BodyStoreError):
    """The server answered with what is no proper answer to the request."""


# What a path causes by itself: no other try gives another answer.
_NO_FILE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ),
    *(errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP),
)
_REFUSED = (errno.ELOOP, errno.EACCES, errno.EPERM)


def path_error(url: str, error: OSError) -> BackendError | None:
    """Return the final error of a path that cannot be opened; None for what may pass."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return BodyNotFoundError(f"{url} does not exist")
    if isinstance(error, PermissionError) or error.errno in _REFUSED:
        return ReferenceRefusedError(f"{url} may not be read: {error.strerror or error}")
    if error.errno in _NO_FILE:
        return BodyNotFoundError(f"{url} is no file: {error.strerror}")
    return None
