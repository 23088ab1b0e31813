from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.support.stages.logged import Logged
from tests.support.stages.records import ManualClock, a_request, an_id
from topicserve.backends.errors import (
    AuthenticationError,
    BackendBusyError,
    BackendConfigError,
    BackendError,
    BackendUnavailableError,
)
from topicserve.wire.dead_letter import Reason
from topicserve.wire.json_codec.body import Form
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.worker.config.schema import MetadataConfig, OnMissingMetadata
from topicserve.worker.runtime.retry import RetryLoop, ShutdownRequestedError
from topicserve.worker.stages.join import Joiner, MetadataLookup
from topicserve.worker.stages.publish import Encoder
from topicserve.worker.stages.request import BatchPrediction, CallOutput, Request
from topicserve.worker.telemetry.metrics import WorkerMetrics


class FakeAnswer:
    """What one question was answered with; two threads may each have one open."""

    def __init__(self, store: "FakeStore", answer: list[bytes | None]) -> None:
        self._store = store
        self._answer = answer

    def result(self) -> list[bytes | None]:
        return self._answer

    def close(self) -> None:
        self._store.closed += 1


class FakeStore:
    """A store in memory that can be away for a number of calls, or fill up between calls."""

    def __init__(self, content: Mapping[str, bytes] | None = None) -> None:
        self.content = dict(content or {})
        self.failures = 0
        self.problem: BackendError = BackendUnavailableError("Redis is not available: refused")
        self.asked: list[list[str]] = []
        self.closed = 0
        self.after_ask: Callable[[], object] = lambda: None

    def request_many(self, record_ids: Sequence[str]) -> FakeAnswer:
        self.asked.append(list(record_ids))
        if self.failures:
            self.failures -= 1
            raise self.problem
        answer = [self.content.get(record_id) for record_id in record_ids]
        self.after_ask()
        return FakeAnswer(self, answer)

    def get_many(self, record_ids: Sequence[str]) -> list[bytes | None]:
        return self.request_many(record_ids).result()

    def put_many(self, metadata: Mapping[str, bytes]) -> None:
        self.content.update(metadata)

    def delete_many(self, record_ids: Sequence[str]) -> None:
        for record_id in record_ids:
            self.content.pop(record_id, None)

    def ping(self) -> None:
        pass

    def close(self) -> None:
        pass


class World:
    """A joiner and what it works with."""

    def __init__(self, **config: Any) -> None:
        self.store = FakeStore()
        self.clock = ManualClock()
        self.registry = CollectorRegistry()
        self.retry_loop = RetryLoop(max_pause_seconds=0.001)
        self.joiner = Joiner(
            self.store,
            MetadataConfig(**config),
            self.retry_loop,
            WorkerMetrics(self.registry),
            self.clock,
        )

    def join(self, *requests: Request) -> MetadataLookup:
        return self.joiner.finish(requests, self.joiner.start(requests))

    def lookups(self, status: str) -> float:
        name = "topicserve_metadata_lookups_total"
        return self.registry.get_sample_value(name, {"status": status}) or 0.0


def test_each_record_gets_its_own_in_one_question() -> None:
    """Found, missing and declared absent are told apart."""
    world = World()
    found, missing, absent = a_request(), a_request(), a_request(metadata_absent=True)
    world.store.content[found.input.record_id] = b'{"row":1}'

    joined = world.join(found, missing, absent)

    assert joined.metadata == [
        Metadata(MetadataStatus.FOUND, b'{"row":1}'),
        Metadata(MetadataStatus.MISSING),
        Metadata(MetadataStatus.ABSENT),
    ]
    assert world.store.asked == [[found.input.record_id, missing.input.record_id]]
    assert [world.lookups(s) for s in ("found", "missing", "absent", "invalid")] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    "kind", [BackendUnavailableError, BackendBusyError, BackendConfigError, AuthenticationError]
)
def test_a_store_that_is_away_is_waited_for(kind: type[BackendError], logged: Logged) -> None:
    """As long as it takes, whatever it answers; meanwhile readiness can say why."""
    world = World()
    world.store.failures = 5
    world.store.problem = kind("Redis is not available: refused")
    request = a_request()
    world.store.content[request.input.record_id] = b"{}"
    said: list[str | None] = []
    world.store.after_ask = lambda: said.append(world.joiner.unavailable)

    joined = world.join(request)

    assert joined.metadata[0].status is MetadataStatus.FOUND
    assert said == ["Redis is not available: refused"]
    assert world.joiner.unavailable is None
    retries = world.registry.get_sample_value("topicserve_retries_total", {"stage": "join"})
    assert retries == 5
    assert logged("metadata_store_unavailable") == [{"problem": said[0]}]
    assert logged("metadata_store_recovered") == [{}]


def test_waiting_ends_when_the_worker_gives_up() -> None:
    """The records are left to others, uncommitted."""
    world = World()
    world.store.failures = 10**9
    world.retry_loop.shut_down()

    with pytest.raises(ShutdownRequestedError):
        world.join(a_request())


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"a":1}}', b'"text"', b"\xff"])
def test_what_is_no_json_object_never_gets_into_a_result(content: bytes) -> None:
    """It would break the JSON around it."""
    world = World()
    bad, good = a_request(), a_request()
    world.store.content[bad.input.record_id] = content
    world.store.content[good.input.record_id] = b"{}"

    joined = world.join(bad, good)

    (rejection,) = joined.rejections
    assert (rejection.polled, rejection.reason) == (bad, Reason.METADATA_INVALID)
    assert joined.metadata[1] == Metadata(MetadataStatus.FOUND, b"{}")
    assert world.lookups("invalid") == 1


@pytest.mark.parametrize("content", [b'{"a":NaN}', b'{"a":[-Infinity]}'])
def test_not_a_number_in_stored_metadata_is_named(content: bytes) -> None:
    """Python's json.dumps writes it, and the person who stored it learns what to store instead."""
    world = World()
    request = a_request()
    world.store.content[request.input.record_id] = content

    (rejection,) = world.join(request).rejections

    assert rejection.reason is Reason.METADATA_INVALID
    assert "it has NaN or an infinity, which JSON lacks; store null" in str(rejection.error)


_sorts = st.sampled_from(["found", "missing", "absent", "invalid", "number"])


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(1, 2)), max_size=8),
    st.lists(_sorts.filter(lambda sort: sort != "absent"), min_size=3, max_size=3),
    st.sampled_from(list(OnMissingMetadata)),
)
def test_each_record_keeps_its_own_metadata_among_others_of_its_id(
    records: list[tuple[int, bool, int]], stored: list[str], on_missing: OnMissingMetadata
) -> None:
    """Joined and encoded: what a record declares, and no neighbour of the same id."""
    contents = {"found": b'{"row":1}', "invalid": b"[", "number": b'{"row":NaN}'}
    world = World(on_missing=on_missing)
    ids = [an_id(number) for number in range(3)]
    world.store.content = {
        record_id: contents[sort]
        for record_id, sort in zip(ids, stored, strict=True)
        if sort in contents
    }
    requests = [
        a_request(
            [[0.0]] * rows, form=Form.INSTANCES, rows=rows, offset=number, metadata_absent=absent
        )
        for number, absent, rows in records
    ]
    # In two answers, as rows of different shapes are.
    parts = [requests[::2], requests[1::2]]
    predicted = BatchPrediction(
        "digits",
        1,
        "serving_default",
        [CallOutput(p, {"y": np.zeros(sum(r.input.rows for r in p))}) for p in parts if p],
        [],
    )

    joined = world.joiner.finish(predicted.answered(), world.joiner.start(requests))
    outgoing = Encoder("out", "dead", "w").encode(predicted, joined.metadata, joined.rejections)

    expected = [
        "absent" if request.input.metadata_absent else stored[ids.index(request.input.record_id)]
        for request in predicted.answered()
    ]
    came = {id(polled): index for index, polled in enumerate(outgoing.polled)}
    assert len(came) == len(requests) == len(outgoing.polled)
    for request, sort in zip(predicted.answered(), expected, strict=True):
        index = came[id(request)]
        reason, value = outgoing.reasons[index], outgoing.records[index].value
        if sort in ("invalid", "number"):
            assert reason is Reason.METADATA_INVALID
        elif sort == "missing" and on_missing is OnMissingMetadata.DEAD_LETTER:
            assert reason is Reason.METADATA_MISSING
        else:
            result = orjson.loads(value or b"")
            assert (reason, result["id"]) == (None, request.input.record_id)
            assert result["metadata_status"] == sort
            assert result["metadata"] == ({"row": 1} if sort == "found" else None)
    for status in ("found", "missing", "absent"):
        assert world.lookups(status) == expected.count(status)
    assert world.lookups("invalid") == expected.count("invalid") + expected.count("number")
    for asked in world.store.asked:
        assert len(asked) == len(set(asked))


def test_missing_metadata_can_be_a_records_fault() -> None:
    """Where a result without metadata is of no use."""
    world = World(on_missing=OnMissingMetadata.DEAD_LETTER)
    request = a_request()

    joined = world.join(request)

    (rejection,) = joined.rejections
    assert (rejection.polled, rejection.reason) == (request, Reason.METADATA_MISSING)
    assert world.lookups("missing") == 1


def test_missing_metadata_can_be_waited_for() -> None:
    """What comes late is found, and only what is missing is asked for again."""
    world = World(wait_seconds=10)
    late, there = a_request(), a_request()
    world.store.content[there.input.record_id] = b"{}"

    def arrive() -> None:
        if len(world.store.asked) == 2:
            world.store.content[late.input.record_id] = b'{"late":true}'

    world.store.after_ask = arrive

    joined = world.join(late, there)

    assert joined.metadata[0].content == b'{"late":true}'
    assert world.store.asked[1:] == [[late.input.record_id]] * 2


def test_the_wait_for_metadata_counts_from_the_poll() -> None:
    """A record that waited elsewhere has less time left here."""
    world = World(wait_seconds=10)
    request = a_request(polled_at=world.clock())
    world.store.after_ask = lambda: world.clock.advance(6)

    joined = world.join(request)

    assert joined.metadata[0].status is MetadataStatus.MISSING
    assert len(world.store.asked) == 2


def test_an_answer_nobody_needs_is_given_up() -> None:
    """Its connection is free again."""
    world = World()

    world.joiner.start([a_request()]).cancel()

    assert world.store.closed == 1
