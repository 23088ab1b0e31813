import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tests.support.stages.records import codec_of
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import ServableSpec
from topicserve.wire.input_record import InputRecord
from topicserve.wire.json_codec.body import Form
from topicserve.wire.json_codec.values import column_pieces
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.wire.result import Metadata, MetadataStatus, decode_result
from topicserve.wire.result_encoder import Origin, encode_results

ID = "4a7c9be0-51c8-4b61-a7a4-0e4f0b9ba7d1"
ORIGIN = Origin('di"gits', 3, "serving_default", "worker-1")
FOUND = Metadata(MetadataStatus.FOUND, b'{"row":7}')


def an_input(form: Form, rows: int = 1, **changes: Any) -> InputRecord:
    """Return an input record of that many rows."""
    return InputRecord(ID, ServableSpec(), form, None, rows, codec_of(form), **changes)


def as_read(sent: OutgoingRecord) -> KafkaRecord:
    """Return a result as a reader polls it."""
    return KafkaRecord(sent.topic, 0, 0, 0, sent.key, sent.value, sent.headers)


def encode(
    inputs: list[InputRecord], outputs: dict[str, NDArray[Any]], metadata: Metadata = FOUND
) -> list[OutgoingRecord]:
    """Encode results that all have the same metadata."""
    keys = [b"key"] * len(inputs)
    return encode_results("out", ORIGIN, inputs, keys, outputs, [metadata] * len(inputs))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (np.array([b"cat", b"dog", b"fox"], object), '["cat","dog","fox"]'),
        (np.float32(0.5), "0.5"),
        (np.zeros((0, 2), np.float32), "[]"),
    ],
)
def test_an_output_without_rows_is_whole_in_every_form(names: Any, text: str) -> None:
    """In the object of each row, and as it is in columns and protobuf."""
    inputs = [an_input(form, 99) for form in (Form.INSTANCES, Form.INPUTS, Form.TENSORS)]
    inputs = [an_input(Form.INSTANCE), *inputs]
    outputs = {"y": np.arange(5), "names": np.asarray(names)}

    results = encode_results(
        "out", ORIGIN, inputs, [b"k"] * 4, outputs, [FOUND] * 4, [1, 2, 1, 1], {"names"}
    )
    values = [decode_result(as_read(sent)).value for sent in results]

    whole = orjson.loads(text)
    assert values[0] == {"y": 0, "names": whole}
    assert values[1] == [{"y": 1, "names": whole}, {"y": 2, "names": whole}]
    assert values[2] == {"y": [3], "names": whole}
    assert (values[3]["y"].tolist(), values[3]["names"].shape) == ([4], outputs["names"].shape)


@pytest.mark.parametrize(
    ("form", "right"), [(Form.INSTANCES, [1.5, 1.5]), (Form.INSTANCE, 1.5), (Form.INPUTS, 1.5)]
)
def test_the_only_output_may_be_whole(form: Form, right: Any) -> None:
    """Each row of the row formats is answered with it."""
    counts = [2 if form is Form.INSTANCES else 1]
    outputs = {"y": np.asarray(1.5)}

    (sent,) = encode_results(
        "out", ORIGIN, [an_input(form)], [b"k"], outputs, [FOUND], counts, {"y"}
    )

    assert decode_result(as_read(sent)).value == right


def test_an_instance_is_answered_with_its_prediction() -> None:
    """The body says what spoke, what it said, and the metadata as it was stored."""
    trace = (("traceparent", b"00-1"),)

    (sent,) = encode(
        [an_input(Form.INSTANCE, trace=trace)], {"y": np.array([[0.5, 1]], np.float32)}
    )

    assert (sent.topic, sent.key) == ("out", b"key")
    assert orjson.loads(sent.value or b"") == {
        "id": ID,
        "servable": {"name": 'di"gits', "version": 3},
        "signature_name": "serving_default",
        "worker": "worker-1",
        "prediction": [0.5, 1.0],
        "metadata": {"row": 7},
        "metadata_status": "found",
    }
    headers = dict(sent.headers)
    assert headers["ce_type"] == b"topicserve.result"
    assert headers["ce_id"] == ID.encode()
    assert headers["ce_servable"] == b'di"gits'
    assert headers["ce_servableversion"] == b"3"
    assert headers["topicserve-metadata-status"] == b"found"
    assert headers["traceparent"] == b"00-1"


def test_each_form_is_answered_as_tf_serving_answers_it() -> None:
    """Rows of one batch go back to the records that they came from, in their record's form."""
    inputs = [an_input(Form.INSTANCES, 2), an_input(Form.INSTANCE), an_input(Form.INPUTS, 2)]
    outputs: dict[str, NDArray[Any]] = {
        "a": np.arange(5),
        "b_bytes": np.array([b"\xff", b"b", b"c", b"d", b"e"], object),
    }

    results = [decode_result(as_read(sent)) for sent in encode(inputs, outputs)]

    assert [result.value for result in results] == [
        [{"a": 0, "b_bytes": {"b64": "/w=="}}, {"a": 1, "b_bytes": {"b64": "Yg=="}}],
        {"a": 2, "b_bytes": {"b64": "Yw=="}},
        {"a": [3, 4], "b_bytes": [{"b64": "ZA=="}, {"b64": "ZQ=="}]},
    ]


def test_a_single_output_stands_alone() -> None:
    """TF Serving names outputs only where there are several."""
    outputs = {"y": np.array([[b"seven"], [b"\xff"]], object)}

    first, second = encode([an_input(Form.INPUTS), an_input(Form.INSTANCE)], outputs)

    assert decode_result(as_read(first)).value == [["seven"]]
    assert decode_result(as_read(second)).value == [{"b64": "/w=="}]


@pytest.mark.parametrize("status", [MetadataStatus.MISSING, MetadataStatus.ABSENT])
def test_without_metadata_the_result_says_why(status: MetadataStatus) -> None:
    """Missing and absent are told apart, in the body and in the header."""
    (sent,) = encode([an_input(Form.INSTANCE)], {"y": np.arange(1)}, Metadata(status))

    result = decode_result(as_read(sent))

    assert (result.metadata, result.metadata_status) == (None, status)
    assert dict(sent.headers)["topicserve-metadata-status"] == status.value.encode()


def test_tensors_are_answered_with_tensors() -> None:
    """A protobuf request gets the PredictResponse, metadata beside it, only the outputs wanted."""
    inputs = [an_input(Form.TENSORS, 2, output_filter=("a",)), an_input(Form.INSTANCE)]
    outputs: dict[str, NDArray[Any]] = {
        "a": np.array([[1], [2], [3]], np.float32),
        "b": np.arange(3),
    }

    first, second = (decode_result(as_read(sent)) for sent in encode(inputs, outputs))

    assert list(first.value) == ["a"]
    np.testing.assert_array_equal(first.value["a"], np.array([[1], [2]], np.float32))
    assert (first.version, first.metadata) == (3, {"row": 7})
    assert second.value == {"a": [3.0], "b": 2}


_dtypes = st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint64, np.bool_])
_shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3)


@given(_dtypes.flatmap(lambda dtype: hnp.arrays(dtype, _shapes)))
def test_pieces_are_the_rows(column: NDArray[Any]) -> None:
    """However a column is written and cut, each piece is its row; NaN and infinities are null."""
    pieces = [orjson.loads(piece) for piece in column_pieces("y", column)]

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(item) for item in node]
        return None if isinstance(node, float) and not math.isfinite(node) else node

    assert len(pieces) == len(column)
    if column.dtype == np.float64 or column.dtype.kind != "f":
        assert pieces == plain(column.tolist())
    else:
        again = np.array(
            [np.nan if v is None else v for v in np.ravel(np.array(pieces, object))], column.dtype
        )
        wanted = np.where(np.isfinite(column), column, np.nan).astype(column.dtype)
        np.testing.assert_array_equal(again, wanted.ravel())


@given(
    _dtypes.flatmap(lambda dtype: hnp.arrays(dtype, _shapes)),
    st.sampled_from(["y", "y_bytes"]),
    st.integers(1, 3),
    st.data(),
)
def test_records_of_as_many_rows_are_answered_as_each_alone(
    column: NDArray[Any], name: str, rows: int, data: st.DataObject
) -> None:
    """Whatever their forms; they are written together, and read as what came in."""
    assume(len(column))
    column = np.repeat(column, rows, axis=0)
    forms = [data.draw(st.sampled_from([Form.INSTANCES, Form.INPUTS])) for _ in column[::rows]]
    inputs = [an_input(form, rows) for form in forms]
    general = [an_input(Form.INSTANCE), *inputs]  # a lone row among them has each cut by rows

    together = encode(inputs, {name: column})
    cut = encode(general, {name: np.concatenate([column[:1], column])})

    assert [sent.value for sent in together] == [sent.value for sent in cut[1:]]


@given(st.binary(), st.sampled_from(["application/json", "application/x-protobuf"]))
def test_no_bytes_raise_anything_else(value: bytes, content_type: str) -> None:
    """A reader can rely on one error, whatever a topic holds."""
    headers = [("ce_type", b"topicserve.result"), ("content-type", content_type.encode())]

    with pytest.raises(InvalidRecordError):
        decode_result(KafkaRecord("out", 0, 0, 0, None, value, headers))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metadata": ...}, "value: is not a result: 'metadata' is missing"),
        ({"servable": {"name": "digits"}}, "value: is not a result: 'version' is missing"),
        ({"prediction": ...}, "it has none of predictions, outputs, prediction"),
        ({"metadata_status": "lost"}, "'lost' is not a valid MetadataStatus"),
    ],
)
def test_what_a_result_lacks_is_named(change: dict[str, Any], says: str) -> None:
    """In words, for whatever program wrote it."""
    (sent,) = encode([an_input(Form.INSTANCE)], {"y": np.array([1.0])})
    body = orjson.loads(sent.value or b"") | change
    value = orjson.dumps({key: given for key, given in body.items() if given is not ...})

    with pytest.raises(InvalidRecordError, match=says):
        decode_result(KafkaRecord("out", 0, 0, 0, None, value, sent.headers))


def test_a_header_that_a_result_lacks_is_named() -> None:
    """Those of tensors are in their headers."""
    (sent,) = encode([an_input(Form.TENSORS)], {"y": np.array([1.0])})
    headers = [header for header in sent.headers if header[0] != "ce_servable"]

    with pytest.raises(InvalidRecordError, match="are not a result's: 'ce_servable' is missing"):
        decode_result(KafkaRecord("out", 0, 0, 0, None, sent.value, headers))
