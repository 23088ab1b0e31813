"""ONNX models in a real worker: good and bad records, a new version, and no TensorFlow."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes.deployment import Deployment
from tests.support.processes.stack import resident_bytes
from tests.support.servables.models import Network
from tests.support.servables.network import (
    NETWORK,
    check_network_result,
    network_records,
    network_servable,
)
from tests.support.servables.onnx_files import model, node, string, write_network, write_version
from tests.support.traffic.accounts import Sent, a_record
from topicserve.embedded.stack import Stack
from topicserve.wire import header_names as names
from topicserve.wire.result import Result

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 60.0
WORDS = "words"
# 118 MiB were measured with what topicserve[onnx] installs (docs/benchmarks.md).
MEMORY_BYTES = 150 * 1024 * 1024
NOT_UTF_8 = {"b64": base64.b64encode(b"\xff\xfe").decode()}
TOO_FEW = [0.5] * 3


def a_word(word: Any) -> Sent:
    """Return a record for the model that gives strings back."""
    return a_record(word, metadata={"number": 1}, headers={names.SERVABLE: WORDS})


def check(sent: Sent, result: Result) -> None:
    """Assert that a result is the network's of its version, or the word."""
    if result.servable == NETWORK:
        check_network_result(sent, result)
    else:
        assert result.value == sent.instance


def test_a_worker_serves_onnx_models_without_tensorflow(tmp_path: Path) -> None:
    """Bad records are given up alone, a new version takes over, and memory stays small."""
    write_network(tmp_path / NETWORK, 1, Network(seed=1))
    echo = model([node("Identity", ["word"], ["same"])], [string("word")], [string("same")])
    write_version(tmp_path / WORDS, 1, echo)
    servables = [
        {**network_servable(tmp_path / NETWORK), "kind": "onnx", "options": {"session_threads": 1}},
        {"name": WORDS, "base_path": str(tmp_path / WORDS), "kind": "onnx"},
    ]
    make = network_records()
    good = [*make(100), *(a_word(text) for text in ("plain", "été", "", "日本" * 50))]
    no_text, no_row = a_word(NOT_UTF_8), a_record(TOO_FEW, headers={names.SERVABLE: NETWORK})
    with (
        Stack() as stack,
        Deployment(
            *(stack.bootstrap_servers, stack.redis_url, tmp_path, servables, check)
        ) as deployment,
    ):
        worker, traffic = deployment.worker(), deployment.traffic
        deployment.start(worker)

        traffic.publish([*good[:50], no_text, no_row, *good[50:]])
        traffic.until_answered(LIMIT_SECONDS)
        write_network(tmp_path / NETWORK, 2, Network(seed=2))
        traffic.until(lambda: traffic.seen.versions[2] > 0, LIMIT_SECONDS, lambda: make(5))

        assert {record.key for record in good} <= traffic.seen.answers.keys()
        reasons = {no_text.key: "predict_failed", no_row.key: "invalid_input"}
        assert traffic.seen.reasons == reasons
        assert "tensorflow" not in Path(f"/proc/{worker.pid}/maps").read_text()
        assert resident_bytes(worker.pid) < MEMORY_BYTES
