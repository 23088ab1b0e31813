"""Models behind the Open Inference Protocol in a real worker, and what their server does to it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest

from tests.support.open_inference.published import pb
from tests.support.open_inference.server import echoing, halving, serving
from tests.support.processes.deployment import Deployment
from tests.support.traffic.accounts import Sent, a_record
from topicserve.embedded.stack import Stack
from topicserve.wire import header_names as names
from topicserve.wire.json_codec.body import Form
from topicserve.wire.result import Result

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 90.0
NUMBERS, WORDS = "numbers", "words"
WAITING = f"servable_unavailable servable={NUMBERS}"


def a_remote(name: str, directory: Path, target: str) -> dict[str, Any]:
    """Write version 1 of a remote model and return its entry in the configuration."""
    version = directory / name / "1"
    version.mkdir(parents=True)
    (version / "open_inference.json").write_text(json.dumps({"model_name": name, "version": "3"}))
    options = {"target": target, "channel_options": {"grpc.max_reconnect_backoff_ms": 200}}
    place = {"name": name, "base_path": str(directory / name)}
    return {**place, "kind": "open_inference", "options": options}


def a_row(*numbers: float) -> Sent:
    """Return a record for the model that halves numbers."""
    return a_record(list(numbers), metadata={"n": 1}, headers={names.SERVABLE: NUMBERS})


def a_word(word: Any) -> Sent:
    """Return a record for the model that gives strings back."""
    return a_record(word, metadata={"n": 2}, headers={names.SERVABLE: WORDS})


def in_protocol(content_type: str, value: bytes, *row: float) -> Sent:
    """Return a record of the protocol's own, for the same model."""
    headers = {names.SERVABLE: NUMBERS, names.CONTENT_TYPE: content_type}
    usual = a_record(list(row), metadata={"n": 3}, headers=headers)
    return replace(usual, value=value)


def in_json(row: list[float], size: int = 2) -> Sent:
    """Return one row as the protocol's JSON; another size than the row's makes it wrong."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, size], "data": row}
    value = orjson.dumps({"id": "own", "inputs": [tensor]})
    return in_protocol(names.OPEN_INFERENCE_JSON, value, *row)


def in_protobuf(row: list[float], size: int = 2) -> Sent:
    """Return one row as the protocol's message, likewise."""
    request = pb.ModelInferRequest(raw_input_contents=[np.array(row, np.float32).tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[1, size])
    return in_protocol(names.OPEN_INFERENCE_PROTOBUF, request.SerializeToString(), *row)


def check(sent: Sent, result: Result) -> None:
    """Assert that a result is y = x / 2 + 2, or the word."""
    if result.servable == NUMBERS:
        value = result.value["y"][0] if result.form is Form.TENSORS else result.value
        assert np.allclose(value, np.array(sent.instance) / 2 + 2)
    else:
        assert result.value == sent.instance
    assert (result.version, result.metadata) == (1, sent.metadata)


def test_records_wait_for_their_server_and_bad_ones_are_given_up(tmp_path: Path) -> None:
    """It comes after the worker, refuses a row, has no room, goes, and comes back as another."""
    numbers_at, words_at = (f"unix:{tmp_path}/{name}.socket" for name in (NUMBERS, WORDS))
    servables = [a_remote(NUMBERS, tmp_path, numbers_at), a_remote(WORDS, tmp_path, words_at)]
    pairs, triples = halving(size=2), halving(size=3)
    words = echoing(("word", "BYTES", [-1]))
    good = [*(a_row(n, 1.5) for n in range(50)), *(a_word(one) for one in ("", "été", "日" * 99))]
    good += [*(make([n, 2.0]) for n in range(9) for make in (in_json, in_protobuf))]
    short, refused = a_row(1), a_row(404, 1)
    lying = in_json([1, 2], size=3), in_protobuf([1, 2], size=3)
    later = [a_row(n, 2, 3) for n in range(20)]
    with (
        Stack() as stack,
        Deployment(
            *(stack.bootstrap_servers, stack.redis_url, tmp_path, servables, check)
        ) as deployment,
    ):
        worker, traffic = deployment.worker(), deployment.traffic
        worker.start()
        # Refused, and so tried again: the servers are not there yet.
        traffic.until(lambda: "connect failed" in worker.log_tail(), LIMIT_SECONDS)
        with serving(pairs, numbers_at), serving(words, words_at):
            worker.wait_ready()
            pairs.failures = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")]
            pairs.refuses = lambda inputs: 404 in inputs["x"]
            traffic.publish([*good[:20], short, *lying, *good[20:], refused])
            traffic.until_answered(LIMIT_SECONDS)
        logged = len(worker.log_path.read_text())
        traffic.publish([old := a_row(5, 5)])
        traffic.until(lambda: WAITING in worker.log_path.read_text()[logged:], LIMIT_SECONDS)
        traffic.publish(later)
        with serving(triples, numbers_at), serving(words, words_at):
            traffic.until_answered(LIMIT_SECONDS)

        assert {one.key for one in (*good, *later)} == traffic.seen.answers.keys()
        reasons = {short.key: "invalid_input", old.key: "invalid_input"}
        reasons |= {one.key: "invalid_record" for one in lying}
        assert traffic.seen.reasons == reasons | {refused.key: "predict_failed"}
        assert not any("tensorflow" in path for path in worker.libraries())
        assert {request.model_version for request in pairs.requests} == {"3"}
