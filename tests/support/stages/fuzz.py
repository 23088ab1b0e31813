"""Records spoilt in many ways, the same for the same seed; each keeps a Kafka key of its own."""

import random
from collections.abc import Callable
from dataclasses import replace

from tests.support.servables.models import FEATURES
from tests.support.servables.network import NETWORK
from tests.support.servables.table import ENTRIES, TABLE
from tests.support.traffic.accounts import Sent, a_record
from topicserve.wire import header_names as names

_ODD_BODIES = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b'{"instance": }',
    b'{"instance": "k1", "instances": ["k1"]}',
    b'{"instances": []}',
    b'{"instances": [["k1"], ["k1", "k2"]]}',
    b'{"instances": "k1"}',
    b'{"inputs": {}}',
    b'{"inputs": {"nobody": [1, 2]}}',
    b'{"instance": {"b64": "%%%"}}',
    b'{"instance": NaN}',
    b'{"instance": 1e999}',
    b'{"instance": [1, [2, [3]]]}',
    b'{"instance": "k1", "signature_name": "nobody"}',
    b'{"instance": "k1", "signature_name": 7}',
    b"[" * 5_000,
    b'{"instance":' * 500,
)
_ODD_HEADERS = (
    (names.ID, b"not-a-uuid"),
    (names.ID, b"\xff\xfe"),
    (names.SPECVERSION, b"0.3"),
    (names.TYPE, b"somebody.else"),
    (names.CONTENT_TYPE, b"text/xml"),
    (names.CONTENT_TYPE, b"text/plain"),
    (names.CONTENT_TYPE, b"image/png"),
    (names.CONTENT_TYPE, names.OPEN_INFERENCE_JSON.encode()),
    (names.CONTENT_TYPE, names.OPEN_INFERENCE_PROTOBUF.encode()),
    (names.CONTENT_TYPE, b"application/x-protobuf"),
    (names.SERVABLE, b"nobody"),
    (names.SERVABLE_VERSION, b"-1"),
    (names.SERVABLE_VERSION, b"99"),
    (names.SERVABLE_VERSION, b"9" * 40),
    (names.SERVABLE_LABEL, b"nobody"),
    (names.SIGNATURE, b"nobody"),
    (names.DEADLINE, b"yesterday"),
    (names.DEADLINE, b"2001-01-01T00:00:00Z"),
    (names.EXPIRY_TIME, b"2001-01-01T00:00:00Z"),
    (names.METADATA, b"perhaps"),
    ("ce_unheard_of", None),
)
ODD_NUMBERS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"1e-999",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"9" * 400,
    b"0." + b"1" * 400,
    b"true",
    b"null",
    b'"7"',
    b'"7,8"',
    b"[7]",
    b"[]",
    b"{}",
    b"",
    b"-",
    b"+7",
    b"07",
    b"0x7",
    b"7 8",
    b"7,8",
    b"7],[8",
    b"\x00",
)


def fuzzed(rng: random.Random) -> Sent:
    """Return a record that is likely, but not certain, to be refused.

    It is for the table or for the network.
    """
    spoil = rng.choice(_SPOILERS)
    return spoil(rng.choice((_for_table, _for_network))(rng), rng)


def _for_table(rng: random.Random) -> Sent:
    return a_record(f"k{rng.randrange(ENTRIES)}", headers={names.SERVABLE: TABLE})


def _for_network(rng: random.Random) -> Sent:
    row = [round(rng.gauss(0, 1), 4) for _ in range(FEATURES)]
    return a_record(row, headers={names.SERVABLE: NETWORK})


def _cut(record: Sent, rng: random.Random) -> Sent:
    value = record.value or b""
    return replace(record, value=value[: rng.randrange(len(value))])


def _flip(record: Sent, rng: random.Random) -> Sent:
    value = bytearray(record.value or b"")
    for _ in range(rng.randint(1, 4)):
        value[rng.randrange(len(value))] = rng.randrange(256)
    return replace(record, value=bytes(value))


def _noise(record: Sent, rng: random.Random) -> Sent:
    return replace(record, value=rng.randbytes(rng.randrange(2_000)))


def _nothing(record: Sent, rng: random.Random) -> Sent:  # noqa: ARG001 - a spoiler like the others
    return replace(record, value=None)


def _odd_body(record: Sent, rng: random.Random) -> Sent:
    return replace(record, value=rng.choice(_ODD_BODIES))


def with_odd_number(odd: bytes, place: int) -> Sent:
    """Return a record for the network, one of whose numbers is this text."""
    numbers = [b"%d.5" % number for number in range(FEATURES)]
    numbers[place] = odd
    record = a_record(None, headers={names.SERVABLE: NETWORK})
    return replace(record, value=b'{"instance":[%b]}' % b",".join(numbers))


def _odd_number(record: Sent, rng: random.Random) -> Sent:  # noqa: ARG001 - one like the others
    return with_odd_number(rng.choice(ODD_NUMBERS), rng.randrange(FEATURES))


def _without_header(record: Sent, rng: random.Random) -> Sent:
    left_out = rng.randrange(len(record.headers))
    kept = [header for index, header in enumerate(record.headers) if index != left_out]
    return replace(record, headers=kept)


def _odd_header(record: Sent, rng: random.Random) -> Sent:
    name, value = rng.choice(_ODD_HEADERS)
    kept = [header for header in record.headers if header[0] != name]
    return replace(record, headers=[*kept, (name, value)])


def _noisy_header(record: Sent, rng: random.Random) -> Sent:
    name = rng.choice(record.headers)[0]
    return replace(record, headers=[*record.headers, (name, rng.randbytes(rng.randrange(64)))])


_SPOILERS: tuple[Callable[[Sent, random.Random], Sent], ...] = (
    _cut,
    _flip,
    _noise,
    _nothing,
    _odd_body,
    _odd_number,
    _without_header,
    _odd_header,
    _noisy_header,
)
