"""Records that give no input at all, from their bytes to their answers, through a real graph."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from tests.servables.kinds.saved_model import exports
from tests.support.stages.outcomes import outcomes
from tests.support.stages.records import a_kafka_record, a_request
from topicserve.protos.predict_pb2 import PredictRequest, PredictResponse
from topicserve.protos.tensors import from_tensor_proto
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel
from topicserve.servables.kinds.servable import Scope
from topicserve.wire.header_names import PROTOBUF_CONTENT_TYPE
from topicserve.wire.input_record import decode_input
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.request import Request

EMPTY_REQUEST = PredictRequest().SerializeToString()


@pytest.fixture(scope="module")
def model(directory: Path) -> Iterator[SavedModel]:
    """Yield signatures whose inputs have defaults, and one without inputs, loaded."""
    model = SavedModel.load(exports.export_defaults(directory / "nothing"), SavedModelOptions())
    yield model
    model.close()


def a_record(body: Any, offset: int = 0) -> Request:
    """Return the request of a JSON body, or of the bytes of a PredictRequest."""
    content_type = PROTOBUF_CONTENT_TYPE if isinstance(body, bytes) else "application/json"
    record = a_kafka_record(
        offset,
        value=body if isinstance(body, bytes) else orjson.dumps(body),
        headers=[("content-type", content_type.encode())],
    )
    request = a_request(offset=offset)
    return msgspec.structs.replace(request, record=record, input=decode_input(record))


def answer(model: SavedModel, body: Any, signature_name: str) -> Any:
    """Return what a record is answered: the member of JSON, tensors, or the message."""
    (found,) = outcomes(model, [a_record(body)], signature_name=signature_name).values()
    if isinstance(found, tuple):
        return found[1].decode()
    if isinstance(body, bytes):
        outputs = PredictResponse.FromString(found).outputs
        return {name: from_tensor_proto(tensor).tolist() for name, tensor in outputs.items()}
    members = orjson.loads(found)
    return next(
        members[name] for name in ("prediction", "predictions", "outputs") if name in members
    )


WHOLE = {"names": ["a", "b"], "pi": 3.0}


@pytest.mark.parametrize(
    ("body", "right"),
    [
        ({"instance": {}}, WHOLE),
        ({"instances": [{}, {}]}, [WHOLE, WHOLE]),
        ({"inputs": {}}, WHOLE),
        (EMPTY_REQUEST, {"names": [b"a", b"b"], "pi": 3.0}),
    ],
)
def test_a_signature_without_inputs_is_served(model: SavedModel, body: Any, right: Any) -> None:
    """TF Serving runs it, too; its outputs are whole, in every form."""
    assert answer(model, body, "none") == right


def test_records_of_a_signature_without_inputs_are_called_alone(model: SavedModel) -> None:
    """Nothing says that a call of two would give each of them its own."""
    signature = model.signatures["none"]
    bodies = [{"instance": {}}, {"inputs": {}}, {"instances": [{}, {}]}, EMPTY_REQUEST]

    feeds, rejections = build_feeds([a_record(b, n) for n, b in enumerate(bodies)], signature)

    assert rejections == []
    assert [len(feed.requests) for feed in feeds] == [1, 1, 1, 1]
    assert Scope.ROW not in {spec.scope for spec in signature.outputs.values()}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"instance": 1}, "each row must be {}: the signature has no input, found a number"),
        ({"inputs": {"x": [1]}}, "input 'x' is given, but the signature has none"),
    ],
)
def test_an_input_that_a_signature_has_not_is_refused(
    model: SavedModel, body: Any, says: str
) -> None:
    """By its name."""
    assert answer(model, body, "none") == says


@pytest.mark.parametrize(
    ("body", "right"),
    [
        ({"instance": {}}, 7.0),
        ({"instances": [{}]}, [7.0]),
        ({"instances": [{}, {}]}, [7.0, 7.0]),
        ({"inputs": {}}, [7.0]),
        (EMPTY_REQUEST, {"y": [7.0]}),
        ({"instance": {"bias": 1}}, 4.0),
        ({"instances": [{"bias": 1}, {"bias": 1}]}, [4.0, 4.0]),
    ],
)
def test_every_input_may_be_left_out_that_has_a_default(
    model: SavedModel, body: Any, right: Any
) -> None:
    """In every form; each row of a record has the defaults of one row."""
    assert answer(model, body, "all") == right


@pytest.mark.parametrize("body", [{"instance": {}}, {"inputs": {}}, {"instances": [{}]}, b""])
def test_what_is_missing_is_named(model: SavedModel, body: Any) -> None:
    """In every form, an empty PredictRequest included."""
    assert answer(model, body, "one") == "input 'x' is missing"


def test_records_that_give_nothing_share_a_call_with_others(model: SavedModel) -> None:
    """A default of one row is a row like any other; each record has its own answer."""
    bodies = [{}, {"x": [5.0, 6.0]}, {}]
    requests = [a_record({"instance": body}, n) for n, body in enumerate(bodies)]

    feeds, _ = build_feeds(requests, model.signatures["all"])

    assert [len(feed.requests) for feed in feeds] == [3]
    found = outcomes(model, requests, signature_name="all")
    values = [orjson.loads(found[one.input.record_id])["prediction"] for one in requests]
    assert values == [7.0, 15.0, 7.0]
