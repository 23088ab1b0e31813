"""Protobuf records of one layout share a call, and get what each gets when it is read alone."""

import contextlib
import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.stages.records import a_kafka_record, a_request
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import InputReader, decode_input
from topicserve.wire.protobuf_codec import encode_predict_request
from topicserve.worker.stages.calls.feeds import Feed, build_feeds
from topicserve.worker.stages.request import Rejection, Request

FLOAT32 = np.dtype(np.float32)
ROW = TensorSpec(FLOAT32, (2,))
SIGNATURES = [
    Signature({"x": ROW}, {"y": ROW, "z": ROW}),
    Signature({"x": TensorSpec(FLOAT32, None)}, {"y": ROW}),
    Signature({"x": TensorSpec(FLOAT32, (None,))}, {"y": ROW}),
    Signature({"x": TensorSpec(FLOAT32, (2, 1))}, {"y": ROW}),
    Signature({"x": TensorSpec(np.dtype(np.int64), (2,))}, {"y": ROW}),
    Signature({"x": ROW, "other": ROW}, {"y": ROW}),
    Signature({"x": ROW, "keep": TensorSpec(FLOAT32, (), Scope.CALL)}, {"y": ROW}),
    Signature({"x": ROW}, {"y": TensorSpec(FLOAT32, (), Scope.BATCH)}),
    Signature({"x": ROW, "w": ROW}, {"y": ROW}, defaults={"w": np.zeros((2, 2), np.float32)}),
    Signature({"x": ROW, "w": ROW}, {"y": ROW}, defaults={"w": np.zeros((1, 2), np.float32)}),
    Signature({"x": ROW, "metadata_uid": TensorSpec(np.dtype(object), ())}, {"y": ROW}),
]
SHAPES: list[tuple[int, ...]] = [(1, 2), (3, 2), (2,), (), (2, 2, 1)]
FILTERS = [(), ("z",), ("y",), ("unknown",), ("y", "y")]
HALF, THIRD = (np.float32(value).tobytes() for value in (1 / 2, 1 / 3))


def requests_of(values: Sequence[bytes], reader: InputReader) -> list[Request]:
    """Return requests with these bodies."""
    content_type = ("content-type", b"application/x-protobuf")
    records = [
        a_kafka_record(n, value=value, headers=[content_type]) for n, value in enumerate(values)
    ]
    return [replace(a_request(), record=r, input=decode_input(r, reader)) for r in records]


def read_both_ways(values: Sequence[bytes]) -> tuple[list[Request], list[Request]]:
    """Return requests whose layouts are known, and the same of which none is."""
    reader = InputReader()
    for value in values:
        requests_of([value] * 2, reader)
    plain = [requests_of([value], InputReader())[0] for value in values]
    return requests_of(values, reader), plain


def shown(built: tuple[list[Feed], list[Rejection]], requests: Sequence[Request]) -> Any:
    """Return everything about feeds and rejections that anyone can see, by the requests' index."""
    feeds, rejections = built
    index = {id(request): n for n, request in enumerate(requests)}
    return (
        [
            (
                [index[id(request)] for request in feed.requests],
                {n: (c.dtype, c.shape, c.tolist()) for n, c in feed.columns.items()},
                [1] * len(feed.requests) if feed.counts is None else list(feed.counts),
                (feed.rows, feed.has_rows, feed.selects, list(feed.signature.outputs)),
            )
            for feed in feeds
        ],
        [(index[id(one.polled)], one.reason, str(one.error)) for one in rejections],
    )


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("uid", [False, True])
def test_a_batch_of_one_layout_is_fed_as_records_that_are_read_alone(
    signature: Signature, uid: bool
) -> None:
    """For signatures that it fits and for those that it does not, with the same words."""
    for shape, output_filter in product(SHAPES, FILTERS):
        columns: dict[str, Any] = {"x": np.full(shape, 0.5, np.float32)}
        if uid:
            columns["metadata_uid"] = np.array([b"id-0"], object)
        value = encode_predict_request(columns, output_filter=output_filter)
        other = value.replace(b"id-0", b"id-1").replace(HALF, THIRD)

        known, plain = read_both_ways([value, other, value])

        assert known[0].input.layout is known[1].input.layout is not None
        assert shown(build_feeds(known, signature), known) == shown(
            build_feeds(plain, signature), plain
        )


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(1, 3), st.booleans()), min_size=1))
def test_batches_of_several_layouts_are_fed_as_ever(bodies: list[tuple[str, int, bool]]) -> None:
    """Any mix of names, rows, and layouts that are known or not."""
    signature = Signature({"x": ROW}, {"y": ROW})
    values = [
        encode_predict_request({name: np.full((rows, 2), n, np.float32)})
        for n, (name, rows, _) in enumerate(bodies)
    ]
    known, plain = read_both_ways(values)
    mixed = [k if b[2] else p for k, p, b in zip(known, plain, bodies, strict=True)]

    assert shown(build_feeds(mixed, signature), mixed) == shown(
        build_feeds(plain, signature), plain
    )


def test_a_servable_may_change_what_it_is_fed_with() -> None:
    """The records keep their own, and may be predicted again, together or in halves."""
    values = [encode_predict_request({"x": np.full((1, 2), n, np.float32)}) for n in range(4)]
    known, _ = read_both_ways(values)
    signature = SIGNATURES[0]
    ((feed,), _) = build_feeds(known, signature)
    column: Any = feed.columns["x"]
    column[:] = -1

    ((again,), _) = build_feeds(known, signature)
    halves = [half.columns["x"][:, 0].tolist() for half in feed.halves()]
    ones = [one.columns["x"].tolist() for one in feed.each()]

    assert again.columns["x"][:, 0].tolist() == [0, 1, 2, 3]
    assert halves == [[0, 1], [2, 3]]
    assert ones == [[[n, n]] for n in range(4)]


rows = st.lists(st.lists(st.floats(-1e40, 1e40) | st.integers(-3, 2**70), max_size=3), min_size=1)


@given(
    st.lists(rows | st.lists(st.just([0.5, 2])), min_size=1, max_size=4),
    st.sampled_from(["instances", "inputs", "named", "objects"]),
    st.sampled_from(SIGNATURES),
)
def test_rows_of_numbers_are_fed_as_records_that_are_read_alone(
    bodies: list[Any], form: str, signature: Signature
) -> None:
    """Any number of rows of any length, in each of the forms, with the same words."""
    trees: list[Any] = [{form: own} for own in bodies if own]
    if form == "named":
        trees = [{"inputs": {"x": own}} for own in bodies if own]
    elif form == "objects":
        trees = [{"instances": [{"x": row} for row in own]} for own in bodies if own]
    records = [
        a_kafka_record(n, value=json.dumps(tree, separators=(",", ":")).encode())
        for n, tree in enumerate(trees)
    ]
    known = []
    for record in records:
        with contextlib.suppress(InvalidRecordError):  # an integer that no float64 holds
            known.append(replace(a_request(), record=record, input=decode_input(record)))
    plain = [replace(one, input=replace(one.input, layout=None)) for one in known]

    if known:
        assert shown(build_feeds(known, signature), known) == shown(
            build_feeds(plain, signature), plain
        )


def test_many_rows_share_a_call_that_is_read_at_once() -> None:
    """Each record has as many as it sent."""
    records = [
        a_kafka_record(n, value=b'{"instances":[%b]}' % b",".join([b"[1,2]"] * (n + 1)))
        for n in range(3)
    ]
    requests = [replace(a_request(), record=r, input=decode_input(r)) for r in records]
    assert all(request.input.layout is requests[0].input.layout for request in requests)

    ((feed,), rejections) = build_feeds(requests, SIGNATURES[0])

    assert rejections == []
    assert feed.counts == [1, 2, 3]
    assert feed.columns["x"].tolist() == [[1, 2]] * 6
    assert feed.columns["x"].flags.writeable
