"""The base of all errors that Topicserve raises, and what each family asks of its caller.

TopicserveError
  BackendError        a broker or a metadata store (topicserve.backends.errors)
  ServableError       a servable or the core that serves it (topicserve.servables)
  PublishError        records that were not acknowledged
  DeadLetterError     a record that a worker gave up
  InvalidRecordError  a record, a result or a dead letter that cannot be read; a ValueError too
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
