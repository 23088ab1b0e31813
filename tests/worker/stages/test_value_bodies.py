"""Records whose value is one string, on the assembled stages: images, audio, bytes, text."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.stages.poison import Line, check_alone, good, message_of, reason_of
from tests.support.stages.records import a_request
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.wire.dead_letter import Reason
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.stages.calls.feeds import build_feeds

STRING, FLOAT = np.dtype(object), np.dtype(np.float32)
ONE_STRING = {"x": TensorSpec(STRING, ())}
LENGTHS = {"y": TensorSpec(np.dtype(np.int64), ())}


class Lengths:
    """Answers with the length of each string."""

    def __init__(self, inputs: Mapping[str, TensorSpec], **rest: Any) -> None:
        self.signatures = {"serving_default": Signature(inputs, LENGTHS, **rest)}
        self.seen: list[Any] = []

    def predict(self, inputs: Mapping[str, Any], _: str = "") -> Any:
        self.seen.append({name: column.tolist() for name, column in inputs.items()})
        return {"y": np.array([len(one) for one in inputs["x"]], np.int64)}


def a_value(value: bytes | None, content_type: str = "image/png", offset: int = 1) -> KafkaRecord:
    """Return a record with this value."""
    return good(offset, value=value, headers=[("content-type", content_type.encode())])


def run(record: KafkaRecord, servable: Any = None) -> Any:
    """Return what becomes of a record alone."""
    return Line(servable or Lengths(ONE_STRING)).run(record)[record.offset]


@pytest.mark.parametrize(
    "content_type", ["image/png", "IMAGE/JPEG", "audio/wav", "application/octet-stream"]
)
@pytest.mark.parametrize("value", [b"", b"\x89PNG\r\n", b'{"instance":1}', bytes(range(256))])
def test_the_value_is_the_string_as_it_is(content_type: str, value: bytes) -> None:
    """Without base64, and whatever it looks like. It is answered as a lone row of JSON is."""
    servable = Lengths(ONE_STRING)

    outcome = run(a_value(value, content_type), servable)

    assert servable.seen == [{"x": [value]}]
    assert orjson.loads(outcome.value)["prediction"] == len(value)
    assert dict(outcome.headers)["content-type"] == b"application/json"


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        ("plain", ""),
        ("größer", ""),
        ("größer", "; charset=utf-8"),
        ("größer", '; charset="ISO-8859-1"'),
        ("größer", "; Charset=windows-1252"),
        ("größer", "; charset=UTF-16"),
        ("日本", "; charset=Shift_JIS"),
    ],
)
def test_text_reaches_the_model_in_utf_8(text: str, charset: str) -> None:
    """Whatever the charset is that it came in."""
    servable = Lengths(ONE_STRING)
    encoding = charset.partition("=")[2].strip('"') or "utf-8"

    run(a_value(text.encode(encoding), f"text/plain{charset}"), servable)

    assert servable.seen == [{"x": [text.encode()]}]


@pytest.mark.parametrize(
    "charset",
    [
        *("utf-8", "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"),
        *("UTF-16LE", "utf_32_be", "gb18030"),
    ],
)
def test_a_byte_order_mark_is_no_text(charset: str) -> None:
    """Of any charset of Unicode; one that follows it is a character."""
    servable = Lengths(ONE_STRING)
    text = "\ufeffte\ufeffxt"
    value = (
        text.encode(charset) if charset not in ("utf-16", "utf-32") else text[1:].encode(charset)
    )

    run(a_value(value, f"text/plain; charset={charset}"), servable)
    run(a_value("\ufeff\ufeff".encode("utf-16le"), "text/plain; charset=utf-16le"), servable)

    assert servable.seen == [{"x": ["te\ufeffxt".encode()]}, {"x": ["\ufeff".encode()]}]


@pytest.mark.parametrize(
    ("value", "content_type", "problem"),
    [
        (b"ab\xff", "text/plain", "value: is not utf-8: the byte 0xff at position 2"),
        (b"ab\xc3", "text/plain", "value: is not utf-8: the byte 0xc3 at position 2"),
        ("ü".encode(), "text/plain; charset=us-ascii", "value: is not ascii: the byte 0xc3"),
        (b"a", "text/plain; charset=utf-16", "value: is not utf-16: the byte 0x61 at position 0"),
        (b"a", "text/plain; charset=zip", "content-type: has the charset 'zip', which is not"),
        (b"a", "text/plain; charset=idna", "content-type: has the charset 'idna', which is not"),
        (None, "text/plain", "value: is null; text/plain was expected"),
        (None, "image/png", "value: is null; image/png was expected"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(
    value: bytes | None, content_type: str, problem: str
) -> None:
    """Alone: the records beside it are answered."""
    line = Line(Lengths(ONE_STRING))

    outcomes = line.run(
        a_value(b"abc", "text/plain", 0), a_value(value, content_type), a_value(b"abc", offset=2)
    )

    assert message_of(outcomes[1]).startswith(problem)
    assert reason_of(outcomes[1]) is Reason.INVALID_RECORD
    assert [reason_of(outcomes[offset]) for offset in (0, 2)] == [None, None]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"x": TensorSpec(FLOAT, (3,))}, "x (float32)"),
        ({"x": TensorSpec(STRING, ()), "n": TensorSpec(FLOAT, ())}, "x (strings), n (float32)"),
        ({"x": TensorSpec(STRING, ()), "z": TensorSpec(STRING, ())}, "x (strings), z (strings)"),
        ({}, "no input"),
    ],
)
def test_a_signature_without_one_string_input_is_told_with_its_inputs(
    inputs: dict[str, TensorSpec], told: str
) -> None:
    """So that a person sees what to send instead."""
    outcome = run(a_value(b"abc"), Lengths(inputs))

    assert reason_of(outcome) is Reason.INVALID_INPUT
    assert message_of(outcome) == (
        "a record of image/png is the one string input of its signature, which takes "
        f"{told}; send JSON or application/x-protobuf"
    )


def test_inputs_with_defaults_may_stand_beside_the_string() -> None:
    """They are left out, as in JSON."""
    inputs = {"x": TensorSpec(STRING, ()), "size": TensorSpec(FLOAT, (), Scope.CALL)}
    servable = Lengths(inputs, defaults={"size": np.float32(3)})

    outcome = run(a_value(b"abc"), servable)

    assert orjson.loads(outcome.value)["prediction"] == 3


@pytest.mark.parametrize("shape", [(), (1,), None])
def test_records_are_read_at_once_as_each_alone(shape: tuple[int, ...] | None) -> None:
    """Whatever shape one string has in the signature."""
    scope = Scope.UNKNOWN if shape is None else Scope.ROW
    signature = Signature({"x": TensorSpec(STRING, shape, scope)}, LENGTHS)
    contents = [b"a", b"", b"ccc"]
    line = Line()
    raw, _ = line.decoder.decode([a_value(c) for c in contents], [line.assignment] * 3, 0.0)
    rows = [a_request(content.decode(), form=Form.INSTANCE) for content in contents]

    feeds, _ = build_feeds(raw, signature)
    expected, _ = build_feeds(rows, signature)

    assert len(feeds) == len(expected) == (3 if shape is None else 1)
    for feed, wanted in zip(feeds, expected, strict=True):
        assert feed.columns["x"].tolist() == wanted.columns["x"].tolist()
        assert feed.counts in (None, wanted.counts)


ECHO, LENGTHS_OF = Line(), Line(Lengths(ONE_STRING))


@given(
    st.binary(max_size=50),
    st.sampled_from(
        ["image/png", "text/plain", "text/plain;charset=utf-16", "text/plain;charset=gbk"]
    ),
)
@example(b"\xed\xa0\x80", "text/plain")
@example(b"\x00\xd8", "text/plain;charset=utf-16-le")
def test_any_bytes_are_answered_or_refused_alone(value: bytes, content_type: str) -> None:
    """For any signature, one of strings included."""
    check_alone(ECHO, a_value(value, content_type))
    outcome = LENGTHS_OF.run(a_value(value, content_type))[1]

    assert reason_of(outcome) in (None, Reason.INVALID_RECORD)
