"""The base of all errors that Topicserve raises, and what each family asks of its caller.

TopicserveError
  BackendError        a broker or a metadata store (topicserve.backends.errors)
  ServableError       a servable or the core that serves it (topicserve.servables)
  PublishError        records that were not acknowledged
  DeadLetterError     a record that a worker gave up
  InvalidRecordError  a record, a result or a dead letter that cannot be read; a ValueError too
  BodyError           a body of a user's own (topicserve.bodies)
  ConfigError         a worker's configuration: correct the key that the message names
  UsageError          a command's arguments: exit code 2
"""

from topicserve.redact import redact_urls


class TopicserveError(Exception):
    """Anything that Topicserve raises on purpose; docs/errors.md says what each kind asks for.

    Others, such as TypeError, are bugs: of the caller or of Topicserve. No message has the secrets
    of a URL: errors are logged, shown on pages and published in dead letters.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(redact_urls(one) if isinstance(one, str) else one for one in arguments))


MAX_ERROR_CHARACTERS = 1000


def error_text(error: BaseException) -> str:
    """Return the class and message of an error for a person, at most MAX_ERROR_CHARACTERS long.

    Never raises: code of a user's own may raise errors whose message cannot be made.
    """
    name = type(error).__name__
    try:
        # Before it is cut: of half a URL it cannot be told what a secret is.
        text = redact_urls(f"{name}: {error}")
    except BaseException as second:
        text = f"{name}: its message cannot be read, which raises {type(second).__name__}"
    return text if len(text) <= MAX_ERROR_CHARACTERS else f"{text[:MAX_ERROR_CHARACTERS]}..."
