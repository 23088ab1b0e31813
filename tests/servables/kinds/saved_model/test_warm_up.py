"""A version runs the requests that it brings along before it serves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.servables.kinds.saved_model import exports
from topicserve.servables.core.errors import DataLossError, InvalidArgumentError, UnimplementedError
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel

REGRESS = "tensorflow/serving/regress"
CLASSIFY = "tensorflow/serving/classify"


@pytest.fixture(scope="module")
def counting(directory: Path) -> Path:
    """Return a SavedModel that counts its calls."""
    return Path(exports.export_tf1(directory / "counting", exports.counting))


def warm_up_file(counting: Path) -> Path:
    """Return where TF Serving looks for the requests."""
    file = counting / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir(exist_ok=True)
    return file


def calls_at_start(counting: Path, records: Sequence[bytes], **options: Any) -> float:
    """Load the model with these warm-up records; return how often it was called by then."""
    with tf.io.TFRecordWriter(str(warm_up_file(counting))) as writer:
        for record in records:
            writer.write(record)
    model = SavedModel.load(str(counting), SavedModelOptions(**options))
    calls = model.predict({"row": np.zeros(1, np.float32)}, "calls")["calls"]
    model.close()
    return float(calls[0])


def predict_log(x: Sequence[float] = (1,), signature_name: str = "") -> bytes:
    """Return a logged predict request."""
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature_name
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array(x, np.float32)))
    return bytes(log.SerializeToString())


def example(**features: bytes) -> Any:
    """Return a tf.Example of strings."""
    made = tf.train.Example()
    for name, value in features.items():
        made.features.feature[name].bytes_list.value.append(value)
    return made


def example_log(kind: str, signature_name: str, *examples: Any) -> bytes:
    """Return a logged classify or regress request."""
    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, kind).request
    request.model_spec.signature_name = signature_name
    request.input.example_list.examples.extend(examples)
    return bytes(log.SerializeToString())


def test_version_without_file_serves_at_once(counting: Path) -> None:
    """Nothing to run is nothing wrong."""
    warm_up_file(counting).unlink(missing_ok=True)

    SavedModel.load(str(counting), SavedModelOptions()).close()


def test_predict_requests_run_before_the_version_serves(counting: Path) -> None:
    """Each record is run once, with the default signature where it names none."""
    records = [predict_log(), predict_log([1, 2], "serving_default")]

    assert calls_at_start(counting, records) == 2


def test_iterations_repeat_each_record(counting: Path) -> None:
    """TF Serving's num_request_iterations."""
    assert calls_at_start(counting, [predict_log(), predict_log()], warm_up_iterations=3) == 6


def test_warm_up_can_be_turned_off(counting: Path) -> None:
    """The file is then not even looked at."""
    assert calls_at_start(counting, [predict_log(), b"?"], warm_up=False) == 0


def test_classify_and_regress_requests_run(counting: Path) -> None:
    """Examples are fed as TF Serving feeds them."""
    records = [
        example_log("classify_log", "classify", example(word=b"a"), example(word=b"b")),
        example_log("regress_log", "regress", example(word=b"a")),
    ]

    assert calls_at_start(counting, records) == 2


def test_context_completes_each_example(counting: Path) -> None:
    """A feature that is only in the context is there for every example."""
    log = prediction_log_pb2.PredictionLog()
    request = log.regress_log.request
    request.model_spec.signature_name = "regress"
    request.input.example_list_with_context.context.CopyFrom(example(word=b"shared"))
    request.input.example_list_with_context.examples.extend([example(), example(other=b"x")])

    assert calls_at_start(counting, [log.SerializeToString()]) == 1


def test_multi_inference_runs_each_task(counting: Path) -> None:
    """One input goes to several signatures."""
    log = prediction_log_pb2.PredictionLog()
    request = log.multi_inference_log.request
    request.input.example_list.examples.append(example(word=b"a"))
    for method, name in ((REGRESS, "regress"), (CLASSIFY, "classify")):
        task = request.tasks.add(method_name=method)
        task.model_spec.signature_name = name

    assert calls_at_start(counting, [log.SerializeToString()]) == 2


def empty_log(kind: str) -> bytes:
    """Return a log of a kind with nothing in it."""
    log = prediction_log_pb2.PredictionLog()
    getattr(log, kind).SetInParent()
    return bytes(log.SerializeToString())


@pytest.mark.parametrize("kind", ["session_run_log", "predict_streamed_log"])
def test_other_kinds_are_not_supported(counting: Path, kind: str) -> None:
    """As in TF Serving; the kind is named."""
    with pytest.raises(UnimplementedError, match=f"requests: record 0: .*{kind}"):
        calls_at_start(counting, [empty_log(kind)])


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b"?", "record 1: it is no PredictionLog"),
        (predict_log(signature_name="other"), "record 1: there is no signature 'other'"),
        (predict_log([-1]), "record 1: .*no negatives"),
        (predict_log(signature_name="calls"), "record 1: input 'row' is missing"),
        (example_log("regress_log", "regress", example()), "record 1: .*word"),
    ],
)
def test_record_at_fault_fails_the_load(counting: Path, record: bytes, problem: str) -> None:
    """A version that cannot answer its own requests does not serve; the error names the record."""
    with pytest.raises(InvalidArgumentError, match=problem):
        calls_at_start(counting, [predict_log(), record])


def test_damaged_file_fails_the_load(counting: Path) -> None:
    """A file that is no TFRecord is damaged, and says what it must be."""
    warm_up_file(counting).write_bytes(b"this is no TFRecord file")

    with pytest.raises(DataLossError, match="must be an uncompressed TFRecord of PredictionLog"):
        SavedModel.load(str(counting), SavedModelOptions())


def test_a_thousand_records_are_the_most(counting: Path) -> None:
    """One more is refused."""
    assert calls_at_start(counting, [predict_log()] * 1000) == 1000
    with pytest.raises(InvalidArgumentError, match="must hold at most 1000 records"):
        calls_at_start(counting, [predict_log()] * 1001)
