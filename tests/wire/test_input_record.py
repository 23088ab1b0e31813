import base64
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from topicserve.wire.bodies.registry import Bodies
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import HeaderReader, ServableSpec
from topicserve.wire.input_record import InputReader, decode_input
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.protobuf_codec import encode_predict_request

RECORD_ID = "4a7c9be0-51c8-4b61-a7a4-0e4f0b9ba7d1"


def a_record(value: bytes | None = b'{"instance": 1.0}', **headers: bytes | None) -> KafkaRecord:
    """Return a good record; a header given as None is left out."""
    named: dict[str, bytes | None] = {
        "ce_specversion": b"1.0",
        "ce_id": RECORD_ID.encode(),
        "ce_source": b"/tests",
        "ce_type": b"topicserve.input",
        "content-type": b"application/json",
    }
    named.update({name.replace("content_type", "content-type"): v for name, v in headers.items()})
    present = [(name, found) for name, found in named.items() if found is not None]
    return KafkaRecord("in", 0, 7, 0, None, value, present)


_VARIED = st.fixed_dictionaries(
    {},
    optional={
        "ce_servable": st.sampled_from([b"", *(b"s%d" % number for number in range(12))]),
        "ce_servableversion": st.sampled_from([b"1", b"x", b"9" * 20]),
        "ce_source": st.sampled_from([b"/a", None]),
        "ce_id": st.sampled_from([None, b"\xff", RECORD_ID.upper().encode()]),
        "content_type": st.sampled_from([b"no/codec", b"application/json; charset=utf-8"]),
        "traceparent": st.just(b"00-1-2-3"),
        "other": st.binary(max_size=2),
    },
)


@given(st.lists(_VARIED, max_size=12), st.integers(0, 3))
def test_records_in_turn_are_read_as_each_by_a_fresh_reader(
    varied: list[dict[str, bytes | None]], id_at: int
) -> None:
    """Whatever was read before, of as many producers and servables as there are."""
    reader = InputReader()

    for changes in varied * 2:
        record = a_record(**changes)
        own_id = [header for header in record.headers if header[0] == "ce_id"]
        others = [header for header in record.headers if header[0] != "ce_id"]
        record = replace(record, headers=[*others[:id_at], *own_id, *others[id_at:]])

        assert _outcome(record, reader) == _outcome(record, InputReader())


def test_few_servables_envelopes_are_looked_at_one_by_one() -> None:
    """Producers choose the names, so they choose how many there are."""
    reader = HeaderReader(Bodies().find)

    for number in [*range(300), *range(300)]:
        record = a_record(ce_source=None, ce_servable=b"s%d" % number, own=b"")
        first, record_id, *rest = record.headers
        reader.read([first, record_id, ("ce_source", b"/tests"), *rest[:-1]])

    assert 0 < len(reader._recent) <= 128


def _outcome(record: KafkaRecord, reader: InputReader) -> object:
    try:
        return decode_input(record, reader)
    except InvalidRecordError as error:
        return str(error)


def test_reads_what_the_headers_ask_for() -> None:
    """Servable, version, signature and deadline come from the CloudEvents extensions."""
    record = a_record(
        ce_servable=b"digits",
        ce_servableversion=b"20170111173521",
        ce_signature=b"classify",
        ce_deadline=b"2026-11-24T08:00:00Z",
    )

    decoded = decode_input(record)

    assert decoded.record_id == RECORD_ID
    assert decoded.target == ServableSpec("digits", 20170111173521, None, "classify")
    assert decoded.deadline == datetime(2026, 11, 24, 8, tzinfo=UTC)


@pytest.mark.parametrize("name", ["ce_expirytime", "ce_deadline"])
def test_a_deadline_has_two_names(name: str) -> None:
    """CloudEvents' own, and ours; also together, where both say the same."""
    time = datetime(2026, 11, 24, 8, tzinfo=UTC)
    both = {"ce_expirytime": b"2026-11-24T08:00:00Z", "ce_deadline": b"2026-11-24T10:00:00+02:00"}

    assert decode_input(a_record(**{name: b"2026-11-24T08:00:00Z"})).deadline == time
    assert decode_input(a_record(**both)).deadline == time


def test_two_deadlines_are_refused_by_both_names() -> None:
    """Neither is more right than the other."""
    record = a_record(ce_expirytime=b"2026-11-24T08:00:00Z", ce_deadline=b"2026-11-24T08:00:01Z")

    with pytest.raises(InvalidRecordError, match="ce_expirytime and ce_deadline"):
        decode_input(record)


def test_an_empty_body_is_called_empty() -> None:
    """It is not JSON that was cut off."""
    with pytest.raises(InvalidRecordError, match=r"^value: is empty"):
        decode_input(a_record(b""))


def test_two_ids_are_refused() -> None:
    """Which of them has the metadata? The same one twice is one."""
    good = a_record()
    twice = replace(good, headers=[*good.headers, ("ce_id", RECORD_ID.encode())])
    two = replace(good, headers=[*good.headers, ("ce_id", b"order-4711")])
    reader = InputReader()

    for _ in range(2):  # with nothing remembered, and after a record that is
        with pytest.raises(InvalidRecordError, match=r"^ce_id: .*twice"):
            decode_input(two, reader)
        assert decode_input(twice, reader).record_id == RECORD_ID
        assert decode_input(good, reader).record_id == RECORD_ID


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-type", b"text/plain"),
        ("content-type", None),
        ("ce_servable", b"other"),
        ("ce_source", b"/elsewhere"),
    ],
)
def test_a_header_with_two_values_is_refused(name: str, value: bytes | None) -> None:
    """Which of them holds would depend on the reader. The same value twice is one."""
    good = a_record(ce_servable=b"digits")
    other = replace(good, headers=[*good.headers, (name, value)])
    first = replace(good, headers=[(name, value), *good.headers])
    same = replace(good, headers=[*good.headers, *(one for one in good.headers if one[0] == name)])

    reader = InputReader()

    for record in (other, first, other):
        with pytest.raises(InvalidRecordError, match=rf"^{name}: is there twice"):
            decode_input(record, reader)
        assert decode_input(same, reader).target == decode_input(good, reader).target


@given(headers=st.permutations(a_record(ce_servable=b"digits", other=b"x").headers))
def test_headers_mean_the_same_in_any_order(headers: list[tuple[str, bytes | None]]) -> None:
    """Wherever the id stands, and whatever was read before."""
    expected = decode_input(a_record(ce_servable=b"digits"))

    decoded = decode_input(replace(a_record(), headers=headers))

    # What another header takes is counted, and means nothing.
    assert decoded.held_bytes == expected.held_bytes + 128 + len("otherx")
    assert replace(decoded, held_bytes=expected.held_bytes) == expected


def test_the_body_names_the_signature_before_the_header() -> None:
    """A body copied from TF Serving's REST call means what it meant there."""
    record = a_record(b'{"instances": [[1.0]], "signature_name": "a"}', ce_signature=b"b")

    assert decode_input(record).target.signature_name == "a"


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (a_record(ce_id=b"7 8"), "ce_id"),
        (a_record(ce_id=None), "ce_id"),
        (a_record(ce_id=b"\xff"), "ce_id"),
        (a_record(ce_specversion=b"0.3"), "ce_specversion"),
        (a_record(ce_type=b"other"), "ce_type"),
        (a_record(ce_source=None), "ce_source"),
        (a_record(content_type=b"text/xml"), "content-type"),
        (a_record(ce_servableversion=b"-1"), "ce_servableversion"),
        (a_record(ce_servableversion=b"9" * 5000), "ce_servableversion"),
        (a_record(ce_servableversion=b"1", ce_servablelabel=b"stable"), "ce_servablelabel"),
        (a_record(ce_deadline=b"tomorrow"), "ce_deadline"),
        (a_record(ce_deadline=b"2026-11-24T08:00:00"), "ce_deadline"),
        (a_record(ce_expirytime=b"tomorrow"), "ce_expirytime"),
        (a_record(ce_deadline=b"2026-W01-1T08:00:00Z"), "ce_deadline"),
        (a_record(None), "value"),
        (a_record(b"{"), "value"),
        (a_record(b"[]"), "value"),
        (a_record(b"{}"), "value"),
        (a_record(b'{"instance": 1, "inputs": 1}'), "value"),
        (a_record(b'{"instances": []}'), "instances"),
        (a_record(b'{"instance": 1, "signature_name": 2}'), "signature_name"),
        (a_record(b'{"instances": [{"x": {"b64": "?"}}]}'), "instances[0].x.b64"),
    ],
)
def test_a_malformed_record_names_the_field(record: KafkaRecord, field: str) -> None:
    """Anyone who reads the dead letter learns which field to correct."""
    with pytest.raises(InvalidRecordError) as caught:
        _ = decode_input(record).payload

    assert caught.value.field == field


_leaves = st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.text()
_trees = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=20)


@given(payload=_trees, form=st.sampled_from([Form.INPUTS, Form.INSTANCE]))
def test_values_come_back_as_they_were_published(payload: Any, form: Form) -> None:
    """Nested lists of numbers, booleans and strings survive the round trip."""
    payload = [payload]  # a column has at least one row

    decoded = decode_input(a_record(orjson.dumps({form.value: payload})))

    assert (decoded.form, decoded.payload) == (form, payload)


@given(st.binary())
def test_bytes_come_back_as_they_were_published(content: bytes) -> None:
    """`{"b64": ...}` carries any bytes."""
    node = {"b64": base64.b64encode(content).decode()}

    decoded = decode_input(a_record(orjson.dumps({"instance": {"image": [1.5, node]}})))

    assert decoded.payload == {"image": [1.5, content]}


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        ('{"instance":[NaN, 1]}', "[nan, 1]"),
        ('{"instance": {"x": -Infinity, "y": "NaN"}}', "{'x': -inf, 'y': 'NaN'}"),
        ('{"instances": [[NaN], [2.5]], "signature_name": "NaN"}', "[[nan], [2.5]]"),
        ('{"instances": [{"x": Infinity, "s": {"b64": "TmFO"}}]}', "[{'x': inf, 's': b'NaN'}]"),
        ('{"inputs": {"x": [NaN]}, "other": [Infinity]}', "{'x': [nan]}"),
        ('{"inputs": [1.0], "other": NaN}', "[1.0]"),
    ],
)
def test_number_tokens_stand_in_every_form(body: str, payload: str) -> None:
    """As Python's json.dumps writes them and TF Serving takes them; strings are left alone."""
    assert repr(decode_input(a_record(body.encode())).payload) == payload


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"instance": NaN, "signature_name": 2}', "signature_name"),
        (b'{"instances": [NaN', "value"),
        (b'{"instances": [nan]}', "value"),
        (b"[NaN]", "value"),
        (b'{"instance":NaNN}', "instance"),
        (b'{"instances": NaN}', "instances"),
    ],
)
def test_number_tokens_make_nothing_else_json(body: bytes, field: str) -> None:
    """A body with them is refused for the same faults as one without."""
    with pytest.raises(InvalidRecordError) as caught:
        _ = decode_input(a_record(body)).payload

    assert caught.value.field == field


def test_only_a_string_is_base64() -> None:
    """An input may have that name, as in TF Serving."""
    assert decode_input(a_record(b'{"instance": {"b64": [1.5]}}')).payload == {"b64": [1.5]}


@given(value=st.binary(), header=st.binary(), record_id=st.uuids())
def test_no_bytes_raise_anything_else(value: bytes, header: bytes, record_id: uuid.UUID) -> None:
    """A worker can rely on one error, whatever a topic holds."""
    for name in ("ce_servableversion", "ce_deadline", "ce_expirytime", "content_type"):
        record = a_record(value, ce_id=str(record_id).encode(), **{name: header})
        with suppress(InvalidRecordError):
            _ = decode_input(record).payload


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"x":', b"}")])
def test_deep_nesting_is_refused_like_any_bad_body(opened: bytes, closed: bytes) -> None:
    """A hostile body costs a dead letter, not the worker's stack."""
    for depth in (100, 500, 1000, 100_000):
        body = b'{"instance":' + opened * depth + b"1" + closed * depth + b"}"
        with pytest.raises(InvalidRecordError):
            _ = decode_input(a_record(body)).payload


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"x":', b"}")])
@pytest.mark.parametrize(
    "form",
    [
        b'{"instance":%b}',
        b'{"instance": %b}',
        b'{"instance":["\\n",%b]}',
        b'{"instance":[NaN,%b]}',
        b'{"instances":[%b]}',
        b'{"instances":["a",%b,NaN]}',
        b'{"inputs":{"x":%b}}',
        b'{"instance":1,"other":%b}',
    ],
)
def test_an_error_of_deep_nesting_names_the_limit(
    form: bytes, opened: bytes, closed: bytes
) -> None:
    """Whichever parser finds it, at whatever depth it gives up, with a small text or a large."""
    for depth in (70, 900, 1020, 1030, 30_000):
        nested = opened * depth + b"1" + closed * depth
        if depth < 1000 and b"other" in form:
            continue  # what is not used may be nested as deeply as the parser reads
        with pytest.raises(InvalidRecordError, match=r"limits\.max_nesting_depth allows 64"):
            _ = decode_input(a_record(form % nested)).payload


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "value: is empty; a JSON object was expected"),
        (b" \n", "value: is empty; a JSON object was expected"),
        (b'{"instance": ["\xff"]}', "instance: is not UTF-8: the byte 0xff"),
        (b'\xff{"instance": 1}', "value: is not UTF-8: the byte 0xff at position 0"),
        (b'{"instance":[\xff]}', "instance: is not UTF-8: the byte 0xff"),
        (b'{"instances": ["\xed\xa0\x80"]}', "instances: is not UTF-8: the byte 0xed"),
        (
            b'{"instance": "\\ud83d\\ude00 \\ud800"}',
            "value: has the lone surrogate \\ud800 at position 27, which is no Unicode text",
        ),
        (b'{"inputs": {"x": "\\udc00"}}', "value: has the lone surrogate \\udc00 at position 18"),
        (b'{"instances": ["\\ud800\\ud800"]}', "value: has the lone surrogate \\ud800 at"),
        (b'{"signature_name": "\\uD800", "instances": [1]}', "value: has the lone surrogate"),
        (b'{"instances": ["\\\\ud800", }', "value: is not JSON: "),
    ],
)
def test_bodies_that_are_empty_or_no_unicode_are_called_so(body: bytes, says: str) -> None:
    """Each in its own words, with the record's own place if any; parsers call it truncated data."""
    with pytest.raises(InvalidRecordError) as caught:
        _ = decode_input(a_record(body)).payload

    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{ "instances" : ["1e999", 1, -1e400]}', "instances: has the number -1e400"),
        (b'{"instance":[1.5,1e400]}', "instance: has the number 1e400"),
        (b'{"inputs": {"x": [%b]}}' % (b"9" * 400), f"inputs: has the number {'9' * 64}..."),
        (b'{"instances": [NaN, "\\"2e400", 1e400]}', "value: has the number 1e400"),
    ],
)
def test_a_number_larger_than_any_double_is_shown(body: bytes, says: str) -> None:
    """A place in a part of the body would be the wrong one in the record."""
    with pytest.raises(InvalidRecordError) as caught:
        _ = decode_input(a_record(body)).payload

    assert str(caught.value) == f"{says}, which is larger than any float64"


@pytest.mark.parametrize(
    ("uid", "found"),
    [
        (np.array([7]), "int64 of shape [1]"),
        (np.array([[b"a", b"b"]], object), "strings of shape [1, 2]"),
        (np.zeros(0, object), "strings of shape [0]"),
        (np.zeros(10_000), "float64 of shape [10000]"),
    ],
)
def test_a_metadata_uid_that_cannot_be_the_record_id_is_described(uid: Any, found: str) -> None:
    """It is there, so it is not called missing."""
    body = encode_predict_request({"x": np.zeros(1), "metadata_uid": uid})
    record = a_record(body, ce_id=None, content_type=b"application/x-protobuf")

    with pytest.raises(InvalidRecordError) as caught:
        decode_input(record)

    assert str(caught.value).startswith(f"inputs.metadata_uid: must be one string, found {found};")
