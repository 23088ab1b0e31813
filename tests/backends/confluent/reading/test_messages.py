from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from topicserve.backends.confluent.reading.messages import records_of
from topicserve.backends.confluent.reading.repeated_headers import RepeatedHeaders
from topicserve.wire.header_names import ID
from topicserve.wire.kafka_record import KafkaRecord, UnreadableHeaders

Headers = list[tuple[str, bytes | None]]
UNREADABLE: Headers = [("unreadable", None)]


class Message:
    """What confluent-kafka hands over: headers are made for each, and asked for once."""

    def __init__(self, offset: int, headers: Headers, error: object = None) -> None:
        self._offset = offset
        self._headers: Headers | None = [(f"{name}", value) for name, value in headers]
        self._error = error

    def topic(self) -> str:
        return f"in-{self._offset % 2}"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000 + self._offset

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return b"%d" % self._offset

    def headers(self) -> Headers | None:
        headers, self._headers = self._headers, None
        if headers == UNREADABLE:
            raise SystemError("no UTF-8")
        return headers

    def error(self) -> object:
        return self._error


def read(messages: list[Message], repeated: RepeatedHeaders | None = None) -> list[KafkaRecord]:
    """Return the records of messages, of which none is an event."""
    return records_of(messages, _no_event, repeated or RepeatedHeaders())


def _no_event(message: Any) -> bool:
    raise AssertionError(f"an event: {message}")


def headers_of(servable: bytes, record_id: bytes = b"1", source: bytes = b"/here") -> Headers:
    """Return headers as the producer library writes them."""
    return [
        ("ce_specversion", b"1.0"),
        (ID, record_id),
        ("ce_source", source),
        ("ce_type", b"input"),
        ("ce_servable", servable),
        ("content-type", b"application/json"),
    ]


_names = st.sampled_from([ID, "ce_servable", "ce_source", "other", ""])
_values = st.sampled_from([b"", b"1", b"network", None])
_any_headers = st.lists(st.tuples(_names, _values), max_size=8)
_usual_headers = st.builds(
    headers_of,
    st.sampled_from([b"one", b"two"]),
    st.sampled_from([b"1", b"2"]),
    st.sampled_from([b"/here", b"/there"]),
)


@given(st.lists(st.lists(_usual_headers | _any_headers | st.just(UNREADABLE), max_size=6)))
def test_records_have_the_headers_of_their_messages(polls: list[list[Headers]]) -> None:
    """Whatever the records before them had, in this poll and in those before."""
    repeated = RepeatedHeaders()
    for poll in polls:
        records = read([*map(Message, range(len(poll)), poll)], repeated)

        assert [record.offset for record in records] == [*range(len(poll))]
        for record, headers in zip(records, poll, strict=True):
            if headers == UNREADABLE:
                assert isinstance(record.headers, UnreadableHeaders)
            else:
                assert list(record.headers) == headers
            assert record.topic == f"in-{record.offset % 2}"
            assert (record.value, record.timestamp_ms) == (
                b"%d" % record.offset,
                1000 + record.offset,
            )


def test_repeated_headers_are_kept_once() -> None:
    """Of servables that take turns, too, and from poll to poll; each record has its own id."""
    repeated = RepeatedHeaders()
    turns = [b"one", b"two"]
    first = read([Message(n, headers_of(turns[n % 2], b"%d" % n)) for n in range(6)], repeated)
    later = read([Message(6, headers_of(b"one", b"6"))], repeated)

    for record in [*first[2:], *later]:
        model = first[record.offset % 2]
        assert all(record.headers[at] is model.headers[at] for at in (0, 2, 3, 4, 5))
        assert record.headers[1] == (ID, b"%d" % record.offset)


def test_what_is_kept_is_bounded() -> None:
    """Whatever producers write: the number of servables, and the bytes of headers."""
    repeated = RepeatedHeaders()
    for number in range(300):
        read([Message(0, headers_of(b"%d" % number))], repeated)
    assert 0 < len(repeated.known) <= 128

    read([Message(0, headers_of(b"large", source=b"/" * 5000))], repeated)
    read([Message(0, [("own", b"x")] * 8)], repeated)
    assert b"large" not in repeated.known
    assert b"x" not in repeated.known


def test_headers_that_never_repeat_cost_few_attempts_a_poll() -> None:
    """To keep those of each record would cost more than it gains."""
    repeated = RepeatedHeaders()
    read([Message(n, headers_of(b"%d" % n)) for n in range(100)], repeated)

    assert len(repeated.known) == 8


def test_events_are_no_records() -> None:
    """They are handed to the caller, in their place."""
    events: list[object] = []
    messages = [Message(0, []), Message(1, [], error="end"), Message(2, [])]

    def take(message: Message) -> bool:
        events.append(message.offset())
        return False

    records = records_of(messages, take, RepeatedHeaders())

    assert [record.offset for record in records] == [0, 2]
    assert events == [1]
