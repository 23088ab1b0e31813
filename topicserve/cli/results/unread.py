"""Counts what a command that reads a topic has to pass over."""

from topicserve.backends.errors import BackendUnavailableError
from topicserve.cli.terminal import say
from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord

MAX_TOLD = 10
MAX_UNAVAILABLE = 3


class InvalidRecords:
    """Counts records that cannot be read, and tells of the first ones."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, record: KafkaRecord, error: InvalidRecordError) -> None:
        """Say on standard error where the record is and what is wrong with it."""
        self.count += 1
        if self.count <= MAX_TOLD:
            place = f"{record.topic}-{record.partition} offset {record.offset}"
            say(f"passed over {place}: {error}")


class UnreadResults(InvalidRecords):
    """Counts results, too, whose store does not give their bodies in time."""

    def __init__(self, *, skips_unavailable: bool) -> None:
        super().__init__()
        self._skips_unavailable = skips_unavailable
        self.in_a_row = 0
        """Those that could not be read since a stored result was."""

    def tell_unavailable(self, record: KafkaRecord, error: BackendUnavailableError) -> None:
        """Tell of one; raises the error, so that it is read again, where it is not to be passed.

        Several in a row are the store's fault: none of the others could be read either.
        """
        self.in_a_row += 1
        if not self._skips_unavailable:
            raise BackendUnavailableError(f"{error} (--skip-unavailable passes over it)")
        if self.in_a_row >= MAX_UNAVAILABLE:
            raise BackendUnavailableError(f"{error} ({self.in_a_row} results in a row)")
        self.tell(record, InvalidRecordError(names.DATAREF, str(error)))
