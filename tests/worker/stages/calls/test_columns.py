import base64
import json
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import a_request
from topicserve.servables.kinds.servable import Signature, TensorSpec
from topicserve.wire.dead_letter import Reason
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls import columns
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.request import Request


def a_signature(**inputs: tuple[Any, tuple[int | None, ...] | None]) -> Signature:
    """Return a signature of inputs by name, each a dtype and a shape."""
    specs = {name: TensorSpec(np.dtype(dtype), shape) for name, (dtype, shape) in inputs.items()}
    return Signature(specs, {})


FLOATS = a_signature(x=(np.float32, (2,)))


@pytest.fixture(autouse=True, scope="module", params=["few", "many"])
def ways_of_reading(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lone rows are read in either way, whatever their number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "FEW_BYTES", 0 if request.param == "many" else 2**30)
        yield


def test_lone_rows_become_one_feed() -> None:
    """In order, in the declared dtype; integers are taken for floats as TF Serving does."""
    requests = [a_request([1, 2.5]), a_request([3.0, 4.0])]

    (feed,), rejections = build_feeds(requests, FLOATS)

    assert rejections == []
    assert feed.requests == requests
    assert feed.columns["x"].dtype == np.float32
    np.testing.assert_array_equal(feed.columns["x"], [[1, 2.5], [3, 4]])


def test_forms_are_mixed_in_one_feed() -> None:
    """Rows, columns, lone rows and tensors of one shape are predicted together."""
    requests = [
        a_request([[1.0, 2.0], [3.0, 4.0]], form=Form.INSTANCES, rows=2),
        a_request({"x": [[5.0, 6.0]]}, form=Form.INPUTS),
        a_request({"x": [7.0, 8.0]}),
        a_request({"x": np.array([[9, 10]], np.float32)}, form=Form.TENSORS),
    ]

    (feed,), rejections = build_feeds(requests, FLOATS)

    assert rejections == []
    np.testing.assert_array_equal(feed.columns["x"].ravel(), np.arange(1, 11))
    first, second = feed.halves()
    assert [len(first.columns["x"]), len(second.columns["x"])] == [3, 2]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([1.0], "must have the shape [2], found [1]"),
        ([1.0, [2.0]], "ragged"),
        ([1.0, "2"], "must be float32, found a string"),
        ([True, 1.0], "found a boolean"),
        ([True, False], "found a boolean"),
        ([1.0, None], "must be float32, found null"),
        ({"y": [1.0, 2.0]}, "input 'x' is missing; input 'y' is not one of 'x'"),
        ({"x": [1.0, 2.0], "y": 1}, "input 'y' is not one of 'x'"),
        ("text", "must be float32, found a string"),
    ],
)
def test_one_bad_row_is_found_alone(row: Any, says: str) -> None:
    """Its neighbours are predicted; the reason names the input and what was expected."""
    good, bad, other = a_request([1.0, 2.0]), a_request(row), a_request([3.0, 4.0])

    (feed,), (rejection,) = build_feeds([good, bad, other], FLOATS)

    assert feed.requests == [good, other]
    assert rejection.polled is bad
    assert rejection.reason is Reason.INVALID_INPUT
    assert says in str(rejection.error)


def test_a_record_is_judged_alike_in_any_company() -> None:
    """What is refused alone is refused in a batch, and the other way round."""
    for row in ([True, 1.0], [1, 2], [1.5, 2], ["1", "2"], [[1.0], [2.0]], [[1.0, 2.0]]):
        alone = build_feeds([a_request(row)], FLOATS)[1]
        among = build_feeds([a_request([0.5, 0.5]), a_request(row)], FLOATS)[1]
        assert [r.reason for r in alone] == [r.reason for r in among], row


def test_different_shapes_go_to_different_feeds() -> None:
    """An unknown dimension lets rows differ; each feed has rows of one shape."""
    signature = a_signature(x=(np.float32, (None,)))
    requests = [a_request([1.0]), a_request([1.0, 2.0]), a_request([3.0])]

    feeds, rejections = build_feeds(requests, signature)

    assert rejections == []
    assert [feed.columns["x"].shape for feed in feeds] == [(2, 1), (1, 2)]


@pytest.mark.parametrize(
    ("declared", "row", "taken"),
    [
        ((1,), 5.0, (1,)),
        ((), [5.0], ()),
        ((2, 1), [1.0, 2.0], (2, 1)),
        ((1, None), [1.0, 2.0], (1, 2)),
        (None, [[1.0]], (1, 1)),
    ],
)
def test_dimensions_of_one_may_be_left_out_or_added(
    declared: tuple[int | None, ...] | None, row: Any, taken: tuple[int, ...]
) -> None:
    """As in TF Serving's quick start, which posts [1.0, 2.0, 5.0] to a model declaring [-1, 1]."""
    (feed,), _ = build_feeds([a_request(row)], a_signature(x=(np.float32, declared)))

    assert feed.columns["x"].shape == (1, *taken)


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        (np.int8, [-128, 127], [128]),
        (np.uint64, [0, 2**64 - 1], [-1]),
        (np.int64, [2**63 - 1], [1.0]),
        (np.bool_, [True, False], [1]),
        (np.float16, [0.5, 1], ["x"]),
    ],
)
def test_numbers_must_fit_their_dtype(dtype: Any, good: list[Any], bad: list[Any]) -> None:
    """As strictly as TF Serving reads JSON: no float for an integer, nothing out of range."""
    signature = a_signature(x=(dtype, ()))

    (feed,), rejections = build_feeds([a_request(value) for value in good + bad], signature)

    assert feed.columns["x"].dtype == np.dtype(dtype)
    assert feed.columns["x"].tolist() == good
    assert len(rejections) == len(bad)


@pytest.mark.filterwarnings("error")
def test_a_float_that_is_too_large_is_infinite() -> None:
    """As in TF Serving, and without a word in the log."""
    (feed,), rejections = build_feeds([a_request([1e300, -1e39])], FLOATS)

    assert rejections == []
    assert feed.columns["x"].tolist() == [[float("inf"), -float("inf")]]


@pytest.mark.parametrize(
    ("dtype", "limit", "says"),
    [
        (np.float16, 65504.0, "is out of range for float16, which is from -65504.0 to 65504.0"),
        (ml_dtypes.bfloat16, 3.0e38, "is out of range for bfloat16, which is from -3.389531389251"),
        (ml_dtypes.float8_e4m3fn, 448.0, "is out of range for float8_e4m3fn, which is from -448"),
    ],
)
def test_a_number_beyond_a_narrow_float_is_refused(dtype: Any, limit: float, says: str) -> None:
    """Not made infinite, in whichever way it is read; infinity itself and less is taken."""
    signature = a_signature(x=(dtype, (2,)))
    requests = [a_request([limit, -limit]), a_request([1.0, 2 * limit]), a_request([0.5, 0])]
    given = a_request({"x": np.array([[np.inf, np.nan]], dtype)}, form=Form.TENSORS)

    feeds, (rejection,) = build_feeds([*requests, given], signature)

    assert sum(feed.rows for feed in feeds) == 3
    assert rejection.polled is requests[1]
    assert f"{2 * limit} {says}" in str(rejection.error)


def test_strings_and_bytes_become_bytes() -> None:
    """Text is UTF-8; base64 carries anything; numbers are no strings."""
    signature = a_signature(x=(object, (2,)))
    encoded = {"b64": base64.b64encode(b"\xff\0").decode()}
    requests = [a_request(["a", "ü"]), a_request(["b", encoded]), a_request(["a", 1])]

    (feed,), (rejection,) = build_feeds(requests, signature)

    assert feed.columns["x"].tolist() == [[b"a", "ü".encode()], [b"b", b"\xff\0"]]
    assert "must be strings" in str(rejection.error)


def test_several_inputs_are_given_by_name() -> None:
    """Each row is an object of them all."""
    signature = a_signature(a=(np.int32, ()), b=(object, ()))
    requests = [a_request({"a": 1, "b": "x"}), a_request(3), a_request({"b": "y", "a": 2})]

    (feed,), (rejection,) = build_feeds(requests, signature)

    assert feed.columns["a"].tolist() == [1, 2]
    assert feed.columns["b"].tolist() == [b"x", b"y"]
    assert "must be an object of the inputs 'a', 'b'" in str(rejection.error)


def test_the_id_among_the_tensors_is_not_fed_unless_declared() -> None:
    """Models know nothing of record ids, but one may ask for it."""
    tensors = {"x": np.zeros((1, 2), np.float32), "metadata_uid": np.array([b"id"], object)}
    declaring = a_signature(x=(np.float32, (2,)), metadata_uid=(object, ()))

    (plain,), _ = build_feeds([a_request(tensors, form=Form.TENSORS)], FLOATS)
    (with_id,), _ = build_feeds([a_request(tensors, form=Form.TENSORS)], declaring)

    assert list(plain.columns) == ["x"]
    assert sorted(with_id.columns) == ["metadata_uid", "x"]


@pytest.mark.parametrize(
    "tensors",
    [
        {"x": np.zeros((1, 2), np.float64)},
        {"x": np.zeros((1, 3), np.float32)},
        {"x": np.zeros(2, np.float32)},
        {"x": np.zeros((0, 2), np.float32)},
        {"x": np.zeros((), np.float32)},
        {"y": np.zeros((1, 2), np.float32)},
    ],
)
def test_tensors_must_be_what_is_declared(tensors: Any) -> None:
    """Dtype, shape, name and rows are checked before the batch is built."""
    feeds, (rejection,) = build_feeds([a_request(tensors, form=Form.TENSORS)], FLOATS)

    assert feeds == []
    assert rejection.reason is Reason.INVALID_INPUT


_rows = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=2)


@given(st.lists(_rows | st.just([]) | st.just([None, 1]), min_size=1, max_size=12))
def test_every_request_is_fed_or_rejected_once(rows: list[Any]) -> None:
    """And what is fed is what was sent, in order."""
    requests = [a_request(row) for row in rows]

    feeds, rejections = build_feeds(requests, FLOATS)

    fed = [request for feed in feeds for request in feed.requests]
    good = [len(row) == 2 and None not in row for row in rows]
    assert fed == [request for request, is_good in zip(requests, good, strict=True) if is_good]
    assert len(fed) + len(rejections) == len(requests)
    if feeds:
        sent = np.array([row for row, is_good in zip(rows, good, strict=True) if is_good])
        np.testing.assert_array_equal(feeds[0].columns["x"], sent)


def what_became_of(requests: list[Request], signature: Signature) -> list[Any]:
    """Return each request's own columns, or why it was rejected."""
    feeds, rejections = build_feeds(requests, signature)
    outcomes: dict[int, Any] = {id(r.polled): (r.reason, str(r.error)) for r in rejections}
    for feed in feeds:
        for index, request in enumerate(feed.requests):
            row = {name: column[index].tolist() for name, column in feed.columns.items()}
            outcomes[id(request)] = repr(row)  # not-a-number is not equal to itself
    return [outcomes[id(request)] for request in requests]


def a_request_of(row: bytes) -> Request:
    """Return the request of a lone row of this text."""
    request = a_request()
    content = b'{"instance":%b}' % row
    return msgspec.structs.replace(
        request, input=msgspec.structs.replace(request.input, content=content)
    )


_pieces = st.sampled_from(
    [
        *(b"[1,2]", b"[3.5,-4e0]", b"[[1],[2]]", b"[1,18446744073709551616]", b"[1e400,1]"),
        *(b"[-9223372036854775809,1]", b"[NaN,1]", b"[", b"]", b"{", b"}", b",", b" "),
        *(b"5", b"e", b"true"),
    ]
)


@given(
    st.lists(st.lists(_pieces, max_size=5).map(b"".join), min_size=1, max_size=5),
    st.sampled_from([FLOATS, a_signature(x=(np.int64, (2,))), a_signature(x=(np.float32, None))]),
)
def test_whatever_a_body_holds_its_company_does_not_matter(
    rows: list[bytes], signature: Signature
) -> None:
    """Rows are read together, but one that is no JSON is never completed by the next one."""
    requests = [a_request_of(row) for row in rows]

    together = what_became_of(requests, signature)

    assert together == [what_became_of([request], signature)[0] for request in requests]


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(2**70), 2**70),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([np.float32, np.float64, np.int64, np.uint64, np.int8]),
)
def test_both_ways_of_reading_give_the_same(numbers: list[Any], dtype: Any) -> None:
    """Of numbers at the limits too: which way is taken depends on the company."""
    requests = [a_request_of(json.dumps([number, number]).encode()) for number in numbers]
    signature = a_signature(x=(dtype, (2,)))
    found = []
    for few_bytes in (0, 2**30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(columns, "FEW_BYTES", few_bytes)
            found.append(what_became_of(requests, signature))

    assert found[0] == found[1]
