"""Headers that records repeat, kept once for all of them.

confluent-kafka makes a tuple, a string and a bytes object for each header of each record: most of
the objects that a small record consists of. They would live as long as the record is in progress,
scattered over the memory that every stage walks through. Let go at once, they leave their place to
those of the next record.
"""

from topicserve.wire.header_names import ID
from topicserve.wire.headers import ID_AT, SERVABLE_AT, headers_bytes

Header = tuple[str, bytes | None]

BEHIND_ID = slice(ID_AT + 1, None)

_KEPT = 128
_KEPT_BYTES = 4096
# Headers that differ from record to record cost a comparison, and so many attempts a poll to know
# them again.
_NEW_A_POLL = 8


class RepeatedHeaders:
    """The headers of the last records, for the thread that polls.

    They are found by the servable, where the producer library puts it; the record's id is each
    record's own. What a record has otherwise stays as it is.
    """

    def __init__(self) -> None:
        self.known: dict[bytes | None, tuple[Header, list[Header]]] = {}
        """The first header, and those behind the id, by the value where the servable stands."""
        self._new = 0

    def begin(self) -> None:
        """Say that the records of another poll follow."""
        self._new = 0

    def note(self, headers: list[Header]) -> None:
        """Keep a record's headers, more than SERVABLE_AT, for those that follow."""
        if self._new >= _NEW_A_POLL or headers[ID_AT][0] != ID:
            return
        self._new += 1
        if headers_bytes(headers) > _KEPT_BYTES:
            return
        servable = headers[SERVABLE_AT][1]
        if servable not in self.known and len(self.known) >= _KEPT:
            self.known.clear()
        self.known[servable] = headers[0], headers[BEHIND_ID]
