"""Results that lie elsewhere, as readers and clients get them."""

import argparse
import asyncio
import hashlib
import io
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.references.scripted_store import PREFIX, a_store_with, scripted
from tests.support.stages.fakes import ReadConsumer
from tests.support.stages.records import an_id
from tests.support.traffic.answers import Traffic, a_result
from topicserve.backends.errors import BackendConfigError, BackendUnavailableError
from topicserve.backends.references.body_reader import BodyRead, BodyReader
from topicserve.backends.references.errors import BodyStoreError
from topicserve.backends.references.header import reference_headers
from topicserve.cli.results import add_arguments, open_reader
from topicserve.producer.asynchronous.readers import AsyncTopicReader
from topicserve.producer.client.async_predict_client import AsyncPredictClient
from topicserve.producer.client.predict_client import PredictClient
from topicserve.producer.result_reader import ResultReader
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition
from topicserve.wire.result import Result

P0 = TopicPartition("results", 0)
LIMIT_SECONDS = 60.0


def sent(number: int) -> OutgoingRecord:
    """Return an input record."""
    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"topicserve.input"),
        ("ce_source", b"/tests"),
        ("ce_id", an_id(number).encode()),
        ("content-type", b"application/json"),
    ]
    return OutgoingRecord("in", b"key", b'{"instances": [1.0]}', headers)


def stored(result: OutgoingRecord, url: str = "") -> tuple[OutgoingRecord, bytes]:
    """Return a result as a worker publishes that stored it, and its body."""
    body = result.value or b""
    digest = hashlib.sha256(body).hexdigest()
    name = dict(result.headers)["ce_id"] or b""
    headers = reference_headers(url or f"{PREFIX}/{name.decode()}", digest)
    return replace(result, value=b"", headers=[*headers, *result.headers]), body


def a_topic(count: int) -> tuple[ReadConsumer, dict[str, bytes | Callable[[], bytes]]]:
    """Return a consumer of so many results that lie elsewhere, and their bodies by name."""
    bodies: dict[str, bytes | Callable[[], bytes]] = {}
    polled = []
    for number in range(count):
        result, bodies[an_id(number)] = stored(a_result(sent(number), float(number)))
        polled.append(KafkaRecord(*P0, number, 0, result.key, result.value, result.headers))
    consumer = ReadConsumer(MemoryLog(polled), P0)
    consumer.lag_records = {P0: 0}
    return consumer, bodies


def a_body_reader(*allow: str, timeout_seconds: float = LIMIT_SECONDS) -> BodyReader:
    """Return one that may read the scripted store, and that tries again at once."""
    return BodyReader(
        allow or [PREFIX], timeout_seconds=timeout_seconds, max_bytes=1000, sleep=lambda _: None
    )


def read(reader: ResultReader) -> list[float]:
    """Return the values that a reader reads."""
    return [result.value[0] for result in reader.read(until_end=True)]


def test_a_reader_follows_results_that_lie_elsewhere() -> None:
    """Each result has its value, and its record the body; what is left out is not fetched."""
    consumer, bodies = a_topic(3)
    store = scripted(bodies)

    assert read(ResultReader(consumer, "results", bodies=a_body_reader())) == [0.0, 1.0, 2.0]
    assert store.asked.total() == 3

    consumer, _ = a_topic(3)
    assert read(ResultReader(consumer, "results", version=7, bodies=a_body_reader())) == []
    assert store.asked.total() == 3


@pytest.mark.parametrize(
    ("allow", "says"),
    [
        (None, "give the reader a BodyReader"),
        ("file:///nowhere/at/all", "under no allowed prefix"),
        (PREFIX, "does not exist"),
    ],
)
def test_what_cannot_be_followed_is_told_and_passed_over(allow: str | None, says: str) -> None:
    """Without a body reader, with another prefix, and where there is nothing."""
    consumer, _ = a_topic(2)
    scripted({})
    told: list[InvalidRecordError] = []
    reader = ResultReader(
        consumer,
        "results",
        on_invalid=lambda _, error: told.append(error),
        bodies=None if allow is None else BodyReader([allow]),
    )

    assert read(reader) == []
    assert [error.field for error in told] == ["ce_dataref"] * 2
    assert all(says in str(error) for error in told)


@pytest.mark.parametrize(("body", "word"), [(b"other", "SHA-256"), (b"x" * 1001, "bytes")])
def test_a_body_that_is_another_one_or_too_large_is_invalid(body: bytes, word: str) -> None:
    """Those who can write to the store are not trusted more than the topic's writers."""
    consumer, _ = a_topic(1)
    scripted({an_id(0): body})

    with pytest.raises(InvalidRecordError, match=word):
        read(ResultReader(consumer, "results", bodies=a_body_reader()))


def test_a_store_that_is_away_loses_a_reader_nothing() -> None:
    """The error is raised once its time is over, and the next read begins with the same result."""
    consumer, bodies = a_topic(2)
    is_away = threading.Event()
    is_away.set()
    whole = bodies[an_id(0)]

    def body() -> bytes:
        if is_away.is_set():
            raise OSError("no route")
        assert isinstance(whole, bytes)
        return whole

    scripted({**bodies, an_id(0): body})
    reader = ResultReader(consumer, "results", bodies=a_body_reader(timeout_seconds=0.05))
    # Of a slow machine the time may be over before the first try has failed.
    with pytest.raises(BackendUnavailableError, match=r"no route|not read within"):
        read(reader)
    is_away.clear()
    scripted(bodies)

    # And here once more; nothing is lost then either.
    values: list[float] = []
    while len(values) < 2:
        with suppress(BackendUnavailableError):
            values += (result.value[0] for result in reader.read(limit=1))
    assert values == [0.0, 1.0]


def test_what_cannot_be_read_in_time_is_named() -> None:
    """With the record, its place, the URL, and what the store said last."""
    consumer, _ = a_topic(1)
    polled = consumer.log.records[0]
    tries: list[str] = []

    def away() -> bytes:
        tries.append("no route" if tries else "no name")
        raise OSError(tries[-1])

    scripted({an_id(0): away})
    reader = a_body_reader(timeout_seconds=0.2)
    while len(tries) < 2:  # of a slow machine the time may be over after one try
        with pytest.raises(BodyStoreError) as raised:
            reader.follow(polled)

    assert str(raised.value) == (
        f"record {an_id(0)} (results-0 offset 0): {PREFIX}/{an_id(0)} was not read within 0.2 s: "
        f"{PREFIX}/{an_id(0)} cannot be read: OSError: no route"
    )


def test_an_asyncio_reader_fetches_on_its_own_thread() -> None:
    """The event loop goes on meanwhile."""
    consumer, stored_bodies = a_topic(1)
    scripted(stored_bodies)
    bodies, names = a_body_reader(), []
    follow = bodies.follow

    def noting(record: KafkaRecord, read: BodyRead | None = None) -> KafkaRecord:
        names.append(threading.current_thread().name)
        return follow(record, read)

    bodies.follow = noting  # type: ignore[method-assign]
    reader = AsyncTopicReader(ResultReader(consumer, "results", bodies=bodies))

    async def run() -> list[float]:
        return [result.value[0] async for result in reader.read(until_end=True)]

    assert asyncio.run(run()) == [0.0]
    assert [name.rpartition("_")[0] for name in names] == ["topicserve-reader"]


@pytest.fixture(name="traffic")
def traffic_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """Return topics whose answers lie elsewhere, in the scripted store."""
    monkeypatch.setattr("topicserve.producer.client.listener.POLL_SECONDS", 0.01)
    traffic = Traffic(a_body_reader())
    bodies: dict[str, bytes | Callable[[], bytes]] = {}
    scripted(bodies)

    def answer(record: OutgoingRecord) -> list[OutgoingRecord]:
        result, body = stored(a_result(record))
        bodies[(dict(record.headers)["ce_id"] or b"").decode()] = body
        return [result]

    traffic.answer = answer
    return traffic


def test_a_client_follows_its_answers(traffic: Traffic) -> None:
    """For threads and for asyncio."""
    with PredictClient(traffic.core(), timeout_seconds=LIMIT_SECONDS) as client:
        assert client.predict({"x": [1.0, 2.0]}).value == [1.0, 1.0]

    async def run() -> object:
        async with AsyncPredictClient(traffic.core(), timeout_seconds=LIMIT_SECONDS) as client:
            return (await client.predict({"x": [1.0]})).value

    assert asyncio.run(run()) == [1.0]


def test_a_slow_body_holds_up_no_other_request(traffic: Traffic) -> None:
    """It is read beside the thread of results; closing the client ends the waiting."""
    slow, come = threading.Event(), threading.Event()
    answer = traffic.answer
    held: list[str] = []

    def hang() -> bytes:
        come.set()
        slow.wait(LIMIT_SECONDS)
        return b""

    def first_is_slow(record: OutgoingRecord) -> list[OutgoingRecord]:
        if held:
            return [a_result(record)]
        found = answer(record)
        name = (dict(record.headers)["ce_id"] or b"").decode()
        held.append(name)
        scripted({name: hang})
        return list(found)

    traffic.answer = first_is_slow
    errors: list[BaseException] = []
    with PredictClient(traffic.core(), timeout_seconds=LIMIT_SECONDS) as client:

        def ask() -> None:
            try:
                client.predict({"x": [1.0]})
            except BackendUnavailableError as error:
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert come.wait(LIMIT_SECONDS)
        assert client.predict({"x": [1.0]}).value == [1.0]
    thread.join(LIMIT_SECONDS)
    slow.set()

    assert [type(error) for error in errors] == [BackendUnavailableError]


def test_a_client_without_a_body_reader_says_what_is_missing(traffic: Traffic) -> None:
    """Its request does not wait for a timeout."""
    plain = Traffic()
    plain.answer = traffic.answer

    with (
        PredictClient(plain.core(), timeout_seconds=LIMIT_SECONDS) as client,
        pytest.raises(InvalidRecordError, match="give the reader a BodyReader"),
    ):
        client.predict({"x": [1.0]})


def test_the_command_follows_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--allow-dataref` names the URLs; without it the result is told and passed over."""
    consumer, bodies = a_topic(1)
    prefix = a_store_with(bodies)
    monkeypatch.setattr("topicserve.cli.results.open_consumer", lambda *_: consumer)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["--topic=results", f"--allow-dataref={prefix}"])
    told = io.StringIO()

    with open_reader(arguments, lambda _, error: print(error, file=told)) as reader:
        found = list(reader.read(until_end=True))

    assert [item.value for item in found if isinstance(item, Result)] == [[0.0]]
    assert told.getvalue() == ""


@pytest.mark.parametrize("allow", ["s3://bucket", ["/results"], ["file:///"], ["nosuch://bucket"]])
def test_what_cannot_be_allowed_is_told_at_once(allow: list[str]) -> None:
    """Before anything is read."""
    with pytest.raises(BackendConfigError):
        BodyReader(allow)


def test_a_body_reader_leaves_other_records_alone(tmp_path: Path) -> None:
    """A record with a value, or without a reference, is the same record."""
    bodies = BodyReader([f"file://{tmp_path}"])
    with_value = KafkaRecord(*P0, 0, 0, None, b"{}", [("ce_dataref", b"file:///etc/passwd")])
    without = KafkaRecord(*P0, 0, 0, None, None, [])

    assert bodies.follow(with_value) is with_value
    assert bodies.follow(without) is without
