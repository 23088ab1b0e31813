"""What can go wrong between us and a broker or a metadata store.

BackendError
  BackendConfigError: a setting is wrong; the message names it  -> exit 2
  BackendUnavailableError: no one answers, or not in time  -> back off, try again
    DeliveryTimeoutError: a record was not acknowledged within its time  -> send again
    BacklogFullError: what is in flight stayed at its bound -> try again
    BackendBusyError: it answers that it cannot serve now  -> wait for as long as it takes
  AuthenticationError: refused: credentials, ACLs, TLS  -> stop loudly
  ForkedError: made before os.fork(), used in the child  -> make one in each process
  UnknownTopicError: the topic is not there and is not created  -> exit 2 / stop
  RecordRefusedError: this record alone can never be written  -> dead letter
    RecordTooLargeError: because it is larger than a limit  -> a smaller one
  CommitRefusedError: the partition is no longer ours  -> drop, do not retry
  FencedError: a newer producer or member took our place  -> stop loudly
  TransactionAbortedError: the transaction must be aborted and done again  -> abort, seek back
"""

from topicserve.errors import TopicserveError


class BackendError(TopicserveError):
    """Anything that a broker or a metadata store answered, in our own words."""


class BackendConfigError(BackendError):
    """A setting is wrong. The message names the setting and the remedy."""


class BackendUnavailableError(BackendError):
    """No one answered, or not in time. Try again later; nothing was lost."""


class DeliveryTimeoutError(BackendUnavailableError):
    """A record was not acknowledged within its time; whether it was written is unknown."""


class BacklogFullError(BackendUnavailableError):
    """The bound on records or bytes in flight was not freed in time; nothing was sent."""


class BackendBusyError(BackendUnavailableError):
    """The server answers, and says that it cannot serve now: it loads, its disk is full, ..."""


class AuthenticationError(BackendError):
    """Credentials, ACLs or TLS were refused. Trying again does not help."""


class ForkedError(BackendError):
    """This object's threads and connections are those of another process; make one in this."""


class UnknownTopicError(BackendError):
    """The topic does not exist and the broker does not create it."""


class RecordRefusedError(BackendError):
    """The client or the broker will never accept this record; others are not affected."""


class RecordTooLargeError(RecordRefusedError):
    """The record is larger than a limit of the client, the topic or the broker."""


class CommitRefusedError(BackendError):
    """The group has moved on: the partitions belong to someone else now, or are there no more."""


class FencedError(BackendError):
    """A newer producer with the same transactional id, or a newer member, took our place."""


class TransactionAbortedError(BackendError):
    """The transaction cannot be committed; abort it and process its records again."""
