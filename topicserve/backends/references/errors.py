"""What can go wrong with a body that lies at a URL.

BackendError
  ReferenceRefusedError: this URL may not be read  -> final
    UrlNotAllowedError: it is under no allowed prefix  -> final
  BodyNotFoundError: there is nothing at it  -> final
  BodyTooLargeError: the body is larger than allowed  -> final
  BodyMismatchError: the body has another hash  -> final
  StoreRefusedError: the store takes no body there until someone changes it  -> a few tries
  BackendUnavailableError
    BodyStoreError: the store does not answer, or not in time  -> back off, try again
      BodyTimeoutError: the time of this read is over  -> as its caller decides
      BrokenAnswerError: it does, but the answer is no HTTP  -> try again a few times
"""

from topicserve.backends.errors import BackendError, BackendUnavailableError


class ReferenceRefusedError(BackendError):
    """The URL may not be read: it is not allowed here, or the store refuses it."""


class UrlNotAllowedError(ReferenceRefusedError):
    """The URL is under no prefix that is allowed here."""


class BodyNotFoundError(BackendError):
    """There is nothing at the URL."""


class BodyTooLargeError(BackendError):
    """The body is larger than allowed."""


class BodyMismatchError(BackendError):
    """The body has another hash than was given with its URL."""


class StoreRefusedError(BackendError):
    """The store takes no body there: its place, its rights or its settings must change first."""


class BodyStoreError(BackendUnavailableError):
    """The store did not answer, or not in time, or has no room, or the body was cut off."""


class BodyTimeoutError(BodyStoreError):
    """The time that one read may take is over, or its caller waits no longer."""


class BrokenAnswerError(BodyStoreError):
    """The server answered with what is no proper answer to the request."""
