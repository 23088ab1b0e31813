"""Bodies of every kind in a real worker, each with one that is bad; and deadlines by both names."""

import json
import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.support.docs.installed import install
from tests.support.processes.deployment import Deployment
from tests.support.servables.table import TABLE, table_servable, write_one_file, write_table
from tests.support.traffic.accounts import Sent, a_record
from topicserve.embedded.stack import Stack
from topicserve.wire import header_names as names
from topicserve.wire.protobuf_codec import encode_predict_request
from topicserve.wire.result import MetadataStatus, Result

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 90.0
EXAMPLE = Path(__file__).parents[2] / "examples/custom_body"
PIXELS = "pixels"
STEPS = {
    "inputs": {"image": {"dtype": "string", "shape": []}},
    "steps": [{"step": "decode_image", "input": "image", "size": [1, 2], "channels": 1}],
    "outputs": ["image"],
}
PACKED, PROTOBUF = msgspec.msgpack.encode, encode_predict_request


def a_value(value: bytes, content_type: str, answer: Any, servable: str = TABLE) -> Sent:
    """Return a record of one body, and what its result has."""
    headers = {names.SERVABLE: servable, names.CONTENT_TYPE: content_type}
    record = a_record(None, metadata={"number": 1}, headers=headers)
    return replace(record, value=value, instance=answer)


def a_gif(*greys: int) -> bytes:
    """Return an image of one row of pixels."""
    file = BytesIO()
    image = Image.new("L", (len(greys), 1))
    image.putdata(greys)
    image.save(file, "gif")
    return file.getvalue()


def check(sent: Sent, result: Result) -> None:
    """Assert what a record was answered, in the form of its body, with its metadata."""
    content_type = dict(sent.headers)[names.CONTENT_TYPE] or b""
    value = result.value
    if content_type.endswith(b"msgpack"):
        assert ("content-type", content_type) in result.record.headers
        value = msgspec.msgpack.decode(value)
    if content_type == names.PROTOBUF_CONTENT_TYPE.encode():
        value = {name: column.tolist() for name, column in value.items()}
    assert value == sent.instance
    assert (result.version, result.metadata) == (1, sent.metadata)
    assert result.metadata_status is MetadataStatus.FOUND


def test_each_body_is_answered_and_its_bad_records_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker reads them all; it needs no TensorFlow for any."""
    install(EXAMPLE, tmp_path / "site", monkeypatch)
    python_path = (str(EXAMPLE), str(tmp_path / "site"), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(python_path))
    write_table(tmp_path / TABLE, 1)
    write_one_file(tmp_path / PIXELS, 1, "transform.json", json.dumps(STEPS).encode())
    pixels = {"name": PIXELS, "base_path": str(tmp_path / PIXELS), "kind": "transform"}
    packed, protobuf = "application/msgpack", names.PROTOBUF_CONTENT_TYPE
    good = [
        a_value(b'{"instance": "k1"}', "application/json", "k1@1"),
        a_value(PROTOBUF({"key": np.array([b"k6"], object)}), protobuf, {"value": [b"k6@1"]}),
        a_value(b"k2", "application/octet-stream", "k2@1"),
        a_value("k3".encode("utf-16"), "text/plain; charset=utf-16", "k3@1"),
        a_value(a_gif(7, 200), "image/gif", [[[7], [200]]], PIXELS),
        a_value(PACKED({"instance": "k4"}), packed, {"value": [b"k4@1"]}),
    ]
    expired, in_time = (
        dict.fromkeys((names.EXPIRY_TIME, names.DEADLINE), f"{year}-01-01T00:00:00Z")
        for year in (2020, 2999)
    )
    given_up = {
        "predict_failed": [
            a_value(b"unknown", "audio/wav", None),
            a_value(a_gif(7, 200)[:20], "image/gif", None, PIXELS),
        ],
        "invalid_record": [
            a_value(b"k\xff", "text/plain", None),
            a_value(b"\xc1", packed, None),
            a_value(b"\xff", protobuf, None),
            a_value(b'{"instance": ', "application/json", None),
            a_value(b"k1", "application/x-unknown", None),
        ],
        "invalid_input": [a_value(PACKED({"instance": 7}), packed, None)],
        "deadline_exceeded": [
            a_record("k1", headers={names.SERVABLE: TABLE, name: time})
            for name, time in expired.items()
        ],
    }
    for name, time in in_time.items():
        headers = {names.SERVABLE: TABLE, name: time}
        record = a_record("k5", metadata={"number": 5}, headers=headers)
        good.append(replace(record, instance="k5@1"))
    bad = [record for records in given_up.values() for record in records]
    with (
        Stack() as stack,
        Deployment(
            *(stack.bootstrap_servers, stack.redis_url, tmp_path),
            [table_servable(tmp_path / TABLE), pixels],
            check,
            {"bodies": {"msgpack": {}}},
        ) as deployment,
    ):
        worker, traffic = deployment.worker(), deployment.traffic
        deployment.start(worker)

        traffic.publish([*bad, *good])
        traffic.until_answered(LIMIT_SECONDS)

        assert {one.key for one in good} == traffic.seen.answers.keys()
        reasons = {one.key: reason for reason, records in given_up.items() for one in records}
        assert traffic.seen.reasons == reasons
        assert not any("tensorflow" in path for path in worker.libraries())
