"""Results that lie elsewhere, as readers and clients get them."""

import argparse
import asyncio
import hashlib
import io
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.references.scripted_store import PREFIX, scripted
from tests.support.stages.fakes import ReadConsumer
from tests.support.stages.records import an_id
from tests.support.traffic.answers import Traffic, a_result
from topicserve.backends.errors import BackendConfigError, BackendUnavailableError
from topicserve.backends.references.body_reader import BodyRead, BodyReader
from topicserve.backends.references.errors import BodyStoreError
from topicserve.backends.references.header import reference_headers
from topicserve.cli.errors import UsageError
from topicserve.cli.progress import CountProgress
from topicserve.cli.results.command import add_arguments, open_reader, print_lines
from topicserve.cli.results.unread import UnreadResults
from topicserve.producer.asynchronous.readers import AsyncTopicReader
from topicserve.producer.client.async_predict_client import AsyncPredictClient
from topicserve.producer.client.predict_client import PredictClient
from topicserve.producer.record import Record
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


def hang_until(event: threading.Event, come: threading.Event) -> bytes:
    """Say that a body was asked for, and give none."""
    come.set()
    event.wait(LIMIT_SECONDS)
    return b""


class Failing:
    """An object that always fails, and a reader's clock, which stands still otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> bytes:
        self.now += LIMIT_SECONDS
        raise OSError("no route")

    def reader(self) -> BodyReader:
        """Return a body reader that waits for nothing else."""
        return BodyReader([PREFIX], timeout_seconds=LIMIT_SECONDS, clock=lambda: self.now)


def test_what_cannot_be_read_in_time_is_named() -> None:
    """With the record, its place, the URL, and what the store said last."""
    consumer, _ = a_topic(1)
    failing = Failing()
    scripted({an_id(0): failing})

    with pytest.raises(BodyStoreError) as raised:
        failing.reader().follow(consumer.log.records[0])

    assert str(raised.value) == (
        f"record {an_id(0)} (results-0 offset 0): {PREFIX}/{an_id(0)} was not read within 60 s: "
        f"{PREFIX}/{an_id(0)} cannot be read: OSError: no route"
    )


@pytest.mark.parametrize("ends", ["by its time", "by its caller"])
def test_a_file_system_that_hangs_is_left_behind(ends: str) -> None:
    """Its call has no limit of time; other bodies are read meanwhile."""
    consumer, bodies = a_topic(2)
    never, come = threading.Event(), threading.Event()
    scripted({**bodies, an_id(0): partial(hang_until, never, come)})
    reader = a_body_reader(timeout_seconds=0.2 if ends == "by its time" else LIMIT_SECONDS)
    body_read = BodyRead()
    errors: list[BaseException] = []

    def follow() -> None:
        try:
            reader.follow(consumer.log.records[0], body_read)
        except BodyStoreError as error:
            errors.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    if ends == "by its caller":
        assert come.wait(LIMIT_SECONDS)
        body_read.abandon()
    thread.join(LIMIT_SECONDS)

    assert not never.is_set()
    assert [str(error).rpartition(": ")[2] for error in errors] == ["the store has not answered"]
    assert a_body_reader().follow(consumer.log.records[1]).value == bodies[an_id(1)]
    never.set()


def read_in(loop: str, reader: ResultReader, take: Callable[[Result], None]) -> None:
    """Read to the end, as programs with and without an event loop do."""
    if loop == "threads":
        for result in reader.read(until_end=True):
            take(result)
        return

    async def run() -> None:
        async for result in AsyncTopicReader(reader).read(until_end=True):
            take(result)

    asyncio.run(run())


@pytest.mark.parametrize("loop", ["threads", "asyncio"])
def test_an_object_that_always_fails_can_be_passed_over(loop: str) -> None:
    """The caller hears of it; all others are read, and a commit goes beyond it."""
    consumer, bodies = a_topic(3)
    failing = Failing()
    scripted({**bodies, an_id(1): failing})
    told: list[tuple[int, str]] = []
    reader = ResultReader(
        consumer,
        "results",
        bodies=failing.reader(),
        on_unavailable=lambda record, error: told.append((record.offset, str(error))),
    )
    values: list[float] = []

    read_in(loop, reader, lambda result: values.append(result.value[0]))
    reader.commit()

    assert values == [0.0, 2.0]
    assert [offset for offset, _ in told] == [1]
    assert told[0][1].startswith(f"record {an_id(1)} (results-0 offset 1): {PREFIX}/{an_id(1)} was")
    assert consumer.log.committed == {P0: 3}


@pytest.mark.parametrize("loop", ["threads", "asyncio"])
def test_what_a_caller_will_not_pass_over_is_read_again(loop: str) -> None:
    """It raises, as where the store is away: no result is lost."""
    consumer, bodies = a_topic(2)
    failing = Failing()
    scripted({**bodies, an_id(0): failing})

    def refuse(_: KafkaRecord, error: BackendUnavailableError) -> None:
        raise ValueError("stop") from error

    reader = ResultReader(consumer, "results", bodies=failing.reader(), on_unavailable=refuse)
    with pytest.raises(ValueError, match="stop"):
        read_in(loop, reader, lambda _: None)
    scripted(bodies)

    assert [record.offset for record in reader.polled] == [0, 1]


def test_an_asyncio_reader_that_is_cancelled_closes_at_once() -> None:
    """The body that it was reading is abandoned, and comes first the next time."""
    consumer, bodies = a_topic(1)
    asked, never = threading.Event(), threading.Event()

    def hang() -> bytes:
        asked.set()
        never.wait(LIMIT_SECONDS)
        return b""

    scripted({an_id(0): hang})
    reader = AsyncTopicReader(ResultReader(consumer, "results", bodies=a_body_reader()))

    async def run() -> list[float]:
        async def read() -> list[float]:
            return [result.value[0] async for result in reader.read(until_end=True)]

        task = asyncio.create_task(read())
        assert await asyncio.to_thread(asked.wait, LIMIT_SECONDS)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        scripted(bodies)
        found = await read()
        await reader.close()
        return found

    assert asyncio.run(run()) == [0.0]
    assert consumer.closed
    assert not never.is_set()
    never.set()


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
    assert names == ["topicserve-reader"]


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


def test_a_client_says_that_a_result_came_without_its_body(traffic: Traffic) -> None:
    """Where the body lies, and what the store has said."""
    never, come = threading.Event(), threading.Event()
    answer = traffic.answer

    def without_body(record: OutgoingRecord) -> list[OutgoingRecord]:
        found = answer(record)
        scripted({an_id(1): partial(hang_until, never, come)})
        return list(found)

    traffic.answer = without_body
    core = traffic.core()
    core.listener.ready().result(LIMIT_SECONDS)
    request = core.open(core.encode(Record(inputs={"x": [1.0]}, record_id=an_id(1), metadata=None)))
    core.publisher.put(request.entry, LIMIT_SECONDS)
    assert come.wait(LIMIT_SECONDS)

    said = str(core.timed_out(request, 2.0))
    core.drop(request)
    core.close()
    never.set()

    assert said == (
        f"the result of record {an_id(1)} has come, and its body was not read within 2 s: it is "
        f"read from {PREFIX}/{an_id(1)}: the store has not answered yet"
    )


def test_a_client_without_a_body_reader_says_what_is_missing(traffic: Traffic) -> None:
    """Its request does not wait for a timeout."""
    plain = Traffic()
    plain.answer = traffic.answer

    with (
        PredictClient(plain.core(), timeout_seconds=LIMIT_SECONDS) as client,
        pytest.raises(InvalidRecordError, match="give the reader a BodyReader"),
    ):
        client.predict({"x": [1.0]})


def command_reads(
    monkeypatch: pytest.MonkeyPatch,
    consumer: ReadConsumer,
    *flags: str,
    failing: Failing | None = None,
) -> tuple[list[float], UnreadResults]:
    """Return what the command reads with these flags, and what it could not read."""
    clock = failing or Failing()
    monkeypatch.setattr(
        "topicserve.cli.results.command.BodyReader", partial(BodyReader, clock=lambda: clock.now)
    )
    monkeypatch.setattr("topicserve.cli.results.command.open_consumer", lambda *_: consumer)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["--topic=results", *flags])
    unread = UnreadResults(skips_unavailable=arguments.skip_unavailable)
    with open_reader(arguments, unread) as reader:
        found = list(reader.read(until_end=True))
    return [item.value[0] for item in found if isinstance(item, Result)], unread


def test_the_command_follows_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--allow-dataref` names the URLs."""
    consumer, bodies = a_topic(1)
    scripted(bodies)

    values, unread = command_reads(monkeypatch, consumer, f"--allow-dataref={PREFIX}")

    assert (values, unread.count) == ([0.0], 0)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "allowed: nothing; allow it with --allow-dataref"),
        (["--allow-dataref=file:///nowhere"], "file:///nowhere; allow it with --allow-dataref"),
        ([f"--allow-dataref={PREFIX}", "--dataref-max-bytes=3"], "bytes or more; 3 are allowed"),
    ],
)
def test_the_command_says_what_to_allow(
    flags: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the flag, as a person types it."""
    consumer, bodies = a_topic(1)
    scripted(bodies)

    values, unread = command_reads(monkeypatch, consumer, *flags)

    assert (values, unread.count) == ([], 1)
    assert says in capsys.readouterr().err


def test_the_command_names_the_flag_of_what_cannot_be_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not the argument that it is in the code."""
    consumer, _ = a_topic(1)

    with pytest.raises(UsageError, match="--allow-dataref: nosuch://bucket: Protocol not known"):
        command_reads(monkeypatch, consumer, "--allow-dataref=nosuch://bucket")


def test_the_command_passes_over_what_cannot_be_read_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the flag it ends, and names the flag; the time for a body is a flag, too."""
    consumer, bodies = a_topic(2)
    failing = Failing()
    scripted({**bodies, an_id(0): failing})
    flags = [f"--allow-dataref={PREFIX}", "--dataref-timeout-seconds=1"]

    with pytest.raises(BackendUnavailableError, match=r"within 1 s.*\(--skip-unavailable passes"):
        command_reads(monkeypatch, consumer, *flags, failing=failing)
    consumer, _ = a_topic(2)
    values, unread = command_reads(
        monkeypatch, consumer, *flags, "--skip-unavailable", failing=failing
    )

    assert (values, unread.count) == ([1.0], 1)
    assert "passed over results-0 offset 0: ce_dataref: record" in capsys.readouterr().err


def test_several_in_a_row_that_cannot_be_read_end_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store is away then, and a group would go past all that it has."""
    consumer, _ = a_topic(4)
    failing = Failing()
    scripted({an_id(number): failing for number in range(4)})
    flags = [f"--allow-dataref={PREFIX}", "--skip-unavailable"]

    with pytest.raises(BackendUnavailableError, match=r"\(3 results in a row\)"):
        command_reads(monkeypatch, consumer, *flags, failing=failing)


def test_several_in_a_row_are_passed_over_by_the_runs_of_a_group(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """What a run prints and passes over before it ends is committed: none prints it again."""
    consumer, bodies = a_topic(5)
    failing = Failing()
    scripted({**bodies, **{an_id(number): failing for number in (1, 2, 3)}})
    monkeypatch.setattr(
        "topicserve.cli.results.command.BodyReader", partial(BodyReader, clock=lambda: failing.now)
    )
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(
        ["--topic=results", "--group=g", "--skip-unavailable", f"--allow-dataref={PREFIX}"]
    )

    def run() -> int:
        member = ReadConsumer(consumer.log, P0)
        member.lag_records = {P0: 0}
        monkeypatch.setattr("topicserve.cli.results.command.open_consumer", lambda *_: member)
        unread = UnreadResults(skips_unavailable=True)
        with open_reader(arguments, unread) as reader:
            print_lines(arguments, reader, CountProgress("read", io.StringIO()))
        return unread.count

    with pytest.raises(BackendUnavailableError, match=r"\(3 results in a row\)"):
        run()
    assert consumer.log.committed == {P0: 3}
    assert run() == 1

    lines = capfdbinary.readouterr().out.splitlines()
    assert [orjson.loads(line)["offset"] for line in lines] == [0, 4]
    assert consumer.log.committed == {P0: 5}


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
