"""Bodies of a user's own on the assembled stages: whatever they do is their record's fault."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.stages.bodies import CUSTOM, AnyBody, AnyRoutingBody, bodies_with
from tests.support.stages.poison import Line, check_alone, good, message_of, reason_of
from topicserve.bodies import Asked, BodyAnswer, BodyContent
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.wire.result import decode_result
from topicserve.worker.config.schema import LimitsConfig
from topicserve.worker.stages.request import Batch

ROW = [1.0, 2.0, 3.0]
CONTENTS: Mapping[str, BodyContent] = {
    "a row": BodyContent(instance=ROW),
    "a row by name": BodyContent(instance={"x": (1, 2.0, np.float32(3))}),
    "rows": BodyContent(instances=[ROW]),
    "an array as a row": BodyContent(instance=np.array([1, 2, 3])),
    "columns": BodyContent(inputs={"x": [ROW]}),
    "the only column": BodyContent(inputs=[ROW]),
    "tensors": BodyContent(tensors={"x": np.array([ROW], ">f4")}),
}


class Odd(list[Any]):
    """A list that does more than hold."""

    def __len__(self) -> int:
        raise SystemExit("odd")


def endless() -> Any:
    """Return a list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


def wide() -> Any:
    """Return lists within lists, each twice: 2^60 numbers in sixty objects."""
    found: list[Any] = [1.0]
    for _ in range(60):
        found = [found, found]
    return found


ODD_CONTENTS: Mapping[str, Any] = {
    "nothing": BodyContent(),
    "two forms": BodyContent(instance=1.0, inputs=[1.0]),
    "no content": {"instance": ROW},
    "none": None,
    "objects": BodyContent(instance=object()),
    "a set": BodyContent(instances={1.0}),  # type: ignore[arg-type]
    "an endless list": BodyContent(instance=endless()),
    "a list of many lists": BodyContent(instance=wide()),
    "a list that raises": BodyContent(instances=Odd([1.0])),
    "numbers as names": BodyContent(instance={1: ROW}),
    "no rows": BodyContent(instances=[]),
    "text as rows": BodyContent(instances="abc"),
    "lists as tensors": BodyContent(tensors={"x": [ROW]}),  # type: ignore[dict-item]
    "objects as tensors": BodyContent(tensors={"x": np.array([object()])}),
    "times as tensors": BodyContent(tensors={"x": np.array(["2026-01-01"], "M8[D]")}),
    "records as tensors": BodyContent(tensors={"x": np.zeros(1, [("a", "f4")])}),
    "masked tensors": BodyContent(tensors={"x": np.ma.masked_array([ROW])}),
    "huge tensors": BodyContent(tensors={"x": np.broadcast_to(np.float32(1), (2**28, 3))}),
    "a missing input": BodyContent(tensors={}),
    "another dtype": BodyContent(tensors={"x": np.zeros((1, 3), np.int8)}),
    "text": BodyContent(instance="abc"),
}


def line_with(read: Callable[..., Any], **rest: Any) -> Line:
    """Return the stages of a worker with a body of a user's own."""
    return Line(bodies=bodies_with(AnyBody(lambda *asked: read(*asked), **rest)))


def custom(value: bytes | None = b"value", offset: int = 1) -> KafkaRecord:
    """Return a record for that body."""
    return good(offset, value=value, headers=CUSTOM)


def read_back(outcome: OutgoingRecord) -> KafkaRecord:
    """Return a result as a reader polls it."""
    return KafkaRecord(outcome.topic, 0, 0, 0, outcome.key, outcome.value, outcome.headers)


@pytest.mark.parametrize("content", CONTENTS)
def test_every_form_is_answered_in_the_bodys_own_form(content: str) -> None:
    """With the record's rows alone, and the content type without parameters."""
    outcome = check_alone(line_with(lambda *_: CONTENTS[content]), custom())

    result = decode_result(read_back(outcome))
    assert result.value == b"array([[1., 2., 3.]], dtype=float32)"
    assert result.servable == "digits"
    assert result.worker_id == "worker-1"
    assert dict(outcome.headers)["content-type"] == b"application/x-test"


def test_a_body_is_given_what_came_and_what_was_answered() -> None:
    """The value, the parameters, the outputs, and what stands in the headers."""
    read: list[Any] = []
    answers: list[BodyAnswer] = []

    def note(value: bytes, parameters: Mapping[str, str]) -> BodyContent:
        read.append((value, parameters))
        return BodyContent(instances=[ROW, ROW])

    def write(answer: BodyAnswer) -> bytes:
        answers.append(answer)
        return b""

    line = line_with(note, write=write)
    check_alone(line, custom(b"\x00value"))

    assert read == [(b"\x00value", {"mode": "fast"})]
    (answer,) = answers
    assert (answer.request, answer.rows, answer.whole) == (b"\x00value", 2, frozenset())
    assert (answer.servable, answer.version, answer.metadata) == ("digits", 1, None)
    assert answer.outputs["y"].tolist() == [ROW, ROW]
    with pytest.raises(ValueError, match="read-only"):
        answer.outputs["y"][0] = 0


@pytest.mark.parametrize("content", ODD_CONTENTS)
def test_odd_content_rejects_its_record_alone(content: str) -> None:
    """Whatever it is, however large it seems, and whether or not it can be looked at."""
    bodies = bodies_with(AnyBody(lambda *_: ODD_CONTENTS[content]))
    limits = LimitsConfig(max_unfolded_bytes=1_000_000)

    outcome = check_alone(Line(bodies=bodies, limits=limits), custom())

    assert reason_of(outcome) in (Reason.INVALID_RECORD, Reason.INVALID_INPUT)


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), RecursionError(), MemoryError()]
)
def test_a_body_that_raises_rejects_its_record_alone(error: BaseException) -> None:
    """Also what would end a thread; the message has the body's name."""

    def fail(*_: object) -> Any:
        raise error

    reading = check_alone(line_with(fail), custom())
    writing = check_alone(line_with(lambda *_: CONTENTS["rows"], write=fail), custom())
    asking = AnyRoutingBody(fail, read=lambda *_: CONTENTS["rows"])

    assert reason_of(reading) is Reason.INVALID_RECORD
    assert "the body 'test' cannot read it" in message_of(reading)
    assert reason_of(writing) is Reason.PREDICT_FAILED
    assert "the body 'test' cannot write the result" in message_of(writing)
    asked = check_alone(Line(bodies=bodies_with(asking)), custom())
    assert reason_of(asked) is Reason.INVALID_RECORD


@pytest.mark.parametrize("written", [None, "text", bytearray(b"x"), 7])
def test_what_is_written_must_be_bytes(written: Any) -> None:
    """Anything else is no result of this record."""
    line = line_with(lambda *_: CONTENTS["rows"], write=lambda _: written)

    outcome = check_alone(line, custom())

    assert reason_of(outcome) is Reason.PREDICT_FAILED
    assert "not bytes" in message_of(outcome)


def test_null_is_refused_before_the_body_is_asked() -> None:
    """A body reads bytes."""
    outcome = check_alone(line_with(lambda *_: CONTENTS["rows"]), custom(None))

    assert "is null; application/x-test was expected" in message_of(outcome)


def test_a_value_is_read_where_it_is_predicted() -> None:
    """A body that hangs is found as a prediction is that hangs, while others are polled."""
    read: list[bytes] = []

    def note(value: bytes, _: object) -> BodyContent:
        read.append(value)
        return CONTENTS["rows"]

    line = line_with(note)
    requests, rejections = line.decoder.decode([custom()], [line.assignment], 0.0)
    assert (len(requests), rejections, read) == (1, [], [])

    line.predictor.predict(Batch(requests[0].route, 0, requests, [], 1, 0.0))

    assert read == [b"value"]


def test_a_body_may_ask_for_a_signature_outputs_and_an_id() -> None:
    """The headers stand for what it does not say."""
    body = AnyRoutingBody(
        lambda value: Asked(signature_name=value.decode(), output_filter=("s",), record_id="own"),
        read=lambda *_: BodyContent(instance={"n": [7], "s": "text", "b": [True]}),
        write=lambda answer: " ".join([answer.record_id, *answer.outputs]).encode(),
    )
    record = custom(b"mixed")
    record = replace(record, headers=[one for one in record.headers if one[0] != "ce_id"])
    line = Line(bodies=bodies_with(body))

    outcomes = line.run(good(0), record, good(2))

    assert outcomes[1].value == b"own s"


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none() | st.integers() | st.text(max_size=9) | st.just(("y",)) | st.just([1])
            for name in Asked.__struct_fields__
        },
    )
)
def test_any_answer_to_asks_is_taken_or_rejects_its_record(answer: dict[str, Any]) -> None:
    """On the polling thread, where an error would end the worker."""
    body = AnyRoutingBody(lambda _: Asked(**answer), read=lambda *_: CONTENTS["rows"])

    check_alone(Line(bodies=bodies_with(body)), custom())


CONTENT = [BodyContent()]
ANY_CONTENT = line_with(lambda *_: CONTENT[0])
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(st.sampled_from(["instance", "instances", "inputs", "tensors"]), TREES)
def test_any_content_is_answered_or_rejects_its_record(form: str, tree: Any) -> None:
    """Whatever a format may hold."""
    CONTENT[0] = BodyContent(**{form: tree})

    check_alone(ANY_CONTENT, custom())


def test_small_content_of_one_object_counts_with_its_size() -> None:
    """A format with references may say one value a million times in a few bytes."""
    row = [1.0] * 1000
    limits = LimitsConfig(max_unfolded_bytes=1_000_000)
    bodies = bodies_with(AnyBody(lambda *_: BodyContent(instances=[row] * 1000)))

    outcome = check_alone(Line(bodies=bodies, limits=limits), custom())

    assert "limits.max_unfolded_bytes" in message_of(outcome)
