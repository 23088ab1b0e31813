"""The whole command as processes, on one embedded broker and one Redis."""

import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

import orjson
import pytest
from msgspec.structs import replace

from tests.cli.replay.stack import LIMIT_SECONDS, Names, Stack, a_result
from tests.support.kafka.apache_kafka import ApacheKafka
from tests.support.kafka.topics import delete_records
from tests.support.processes.scale import CHAOS, EVERY_WAY, chaos_only
from tests.support.servables.table import TABLE, write_table
from tests.support.stages.records import an_id
from topicserve.backends.broker import OffsetsAdmin
from topicserve.cli.errors import UsageError
from topicserve.cli.replay.bounds import RangeFinder, read_bound
from topicserve.embedded.kafka_server import KafkaServer
from topicserve.embedded.redis_server import RedisServer
from topicserve.exit_codes import EXIT_INTERRUPTED
from topicserve.wire.header_names import REPLAY_GROUP, REPLAY_INPUT, SERVABLE, SERVABLE_VERSION
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

pytestmark = pytest.mark.servers

BROKERS = [
    "embedded",
    pytest.param("apache", marks=[pytest.mark.kafka, chaos_only]),
]
WAYS = EVERY_WAY if CHAOS else [("kafka-python", "at_least_once")]
OTHER_WAYS = EVERY_WAY if CHAOS else [("kafka-python", "exactly_once")]
# Few records in flight, so that a kill finds some of a replay done and some not.
SLOW = ["--max-batch-size", "4", "--set", "batching.max_in_flight_records=16"]
STORM_KILLS = 8
# How long the group waits for a member that was killed.
SESSION = ["--set", "kafka.consumer_settings.session.timeout.ms=1500"]
SESSION += ["--set", "kafka.consumer_settings.heartbeat.interval.ms=500"]


@pytest.fixture(scope="module", params=BROKERS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Run the servers, and write the table."""
    directory = tmp_path_factory.mktemp("replay")
    for version in (1, 2):
        write_table(directory / TABLE, version)
    with a_broker(request.param) as kafka, RedisServer() as redis:
        yield Stack(kafka.bootstrap_servers, redis.redis_url, directory)


def a_broker(name: str) -> KafkaServer | ApacheKafka:
    """Return a broker that takes a member for dead soon, and creates no topic by itself."""
    if name == "apache":
        own = {"auto.create.topics.enable": "false", "group.min.session.timeout.ms": "1000"}
        return ApacheKafka(own)
    return KafkaServer(auto_create_topics=False)


def headers(record: KafkaRecord) -> dict[str, str]:
    """Return a record's headers as text."""
    return {name: (value or b"").decode(errors="replace") for name, value in record.headers}


def places(records: list[KafkaRecord]) -> Counter[str]:
    """Return which records of the input these are results of."""
    return Counter(headers(record)[REPLAY_INPUT] for record in records)


def expected_places(names: Names, numbers: range) -> set[str]:
    """Return the places of the records with these numbers that have an answer."""
    return {f"{names.input}:{n % 2}:{n // 2}" for n in numbers if n % 10}


@pytest.mark.parametrize(("client", "guarantee"), WAYS)
def test_a_range_is_answered_by_the_version_that_is_asked_for(
    client: str, guarantee: str, stack: Stack
) -> None:
    """The account adds up, nothing is answered twice, and the live group stays where it was."""
    names, group = stack.topics(), f"g-{uuid.uuid4().hex[:8]}"
    old = [("ce_expirytime", b"2020-01-01T00:00:00Z"), (SERVABLE_VERSION, b"1")]
    stack.publish(names.input, range(180), headers=old)
    stack.publish(names.input, range(180, 200), headers=[(SERVABLE, b"another")])
    words = ["--from", "0:10,1:10", "--to", "0:95,1:95", "--servable", f"{TABLE}=2", "--json"]
    words += ["--client", client, "--guarantee", guarantee, "--group", group]

    first = stack.replay(names, *words)
    second = stack.replay(names, *words)

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.out == second.out
    assert "this replay is complete" in second.err
    assert orjson.loads(first.out) == {
        "complete": True,
        "read": 170,
        "results": 144,
        "dead_letters": 16,
        "dead_letters_by_reason": {"predict_failed": 16},
        "other_servable": 10,
        "missing": 0,
        "deleted": 0,
        "offsets": 170,
        "offsets_left": 0,
        "ranges": {"0": [10, 95], "1": [10, 95]},
    }
    results = stack.read(names.output)
    assert places(results) == Counter(expected_places(names, range(20, 180)))
    assert {headers(one)[SERVABLE_VERSION] for one in results} == {"2"}
    assert {headers(one)[REPLAY_GROUP] for one in results} == {group}
    with closing(stack.broker.admin()) as admin:
        partitions = [TopicPartition(names.input, n) for n in (0, 1)]
        live = admin.committed(f"live-{names.input}", partitions, LIMIT_SECONDS)
        dead = admin.end_offsets(f"{names.output}.dead-letter", LIMIT_SECONDS)
    assert set(live.values()) == {None}
    assert sum(dead.values()) >= 16  # and the markers of transactions


@pytest.mark.parametrize(("client", "guarantee"), OTHER_WAYS)
def test_a_replay_that_is_killed_goes_on_with_an_exact_account(
    client: str, guarantee: str, stack: Stack
) -> None:
    """Every record counts once; exactly once also for readers of committed records."""
    names, group = stack.topics(), f"g-{uuid.uuid4().hex[:8]}"
    stack.publish(names.input, range(6000))
    words = ["--from", "earliest", "--servable", f"{TABLE}=stable", "--group", group]
    words += ["--client", client, "--guarantee", guarantee, "--json"]

    with stack.process(
        names, *words, *SLOW, *SESSION, "--set", "delivery.commit_interval_seconds=0.02"
    ) as process:
        done = wait_for_progress(stack, names, group)
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_SECONDS)
    again = stack.replay(names, *words)

    assert done < 6000
    assert again.code == 0, again.err
    account = orjson.loads(again.out)
    assert (account["read"], account["results"], account["dead_letters"]) == (6000, 5400, 600)
    assert account["missing"] == 0
    found = places(stack.read(names.output))
    assert found.keys() == expected_places(names, range(6000))
    if guarantee == "exactly_once":
        assert set(found.values()) == {1}


def test_a_replay_after_ctrl_c_ends_as_interrupted(stack: Stack) -> None:
    """It has not failed, and is not complete; the same command goes on."""
    names, group = stack.topics(), f"g-{uuid.uuid4().hex[:8]}"
    stack.publish(names.input, range(6000))
    words = ["--from", "earliest", "--group", group, "--json", *SLOW]

    with stack.process(names, *words, "--set", "delivery.commit_interval_seconds=0.02") as process:
        wait_for_progress(stack, names, group)
        process.send_signal(signal.SIGINT)
        code = process.wait(LIMIT_SECONDS)

    assert code == EXIT_INTERRUPTED


def test_a_topic_whose_name_is_wrong_is_not_created(stack: Stack) -> None:
    """With --create-topics either; nor is the topic of the results."""
    name = f"typo-{uuid.uuid4().hex[:8]}"
    names = Names(name, f"{name}.replayed")

    ended = stack.replay(names, "--from", "earliest", "--create-topics", "1")

    assert ended.code == 2
    assert f"there is no topic '{name}'" in ended.err
    with closing(stack.broker.admin()) as admin:
        assert [admin.partitions(topic, LIMIT_SECONDS) for topic in names] == [None, None]


def wait_for_progress(stack: Stack, names: Names, group: str, beyond: int = 0) -> int:
    """Wait until more of the range is committed; return how much."""
    deadline = time.monotonic() + LIMIT_SECONDS
    with closing(stack.broker.admin()) as admin:
        while time.monotonic() < deadline:
            done = committed_of(admin, names, group)
            if done > beyond:
                return done
    raise AssertionError("nothing more was committed")


def wait_for_more(stack: Stack, names: Names, group: str) -> None:
    """Wait until more is committed than now, or all of it is."""
    with closing(stack.broker.admin()) as admin:
        before = committed_of(admin, names, group)
    if before < 40_000:
        wait_for_progress(stack, names, group, before)


def committed_of(admin: OffsetsAdmin, names: Names, group: str) -> int:
    """Return how many offsets the group has committed."""
    partitions = [TopicPartition(names.input, n) for n in (0, 1)]
    return sum(offset or 0 for offset in admin.committed(group, partitions, LIMIT_SECONDS).values())


@chaos_only
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("client", "guarantee"), EVERY_WAY)
def test_replicas_that_are_killed_again_and_again_lose_nothing(
    client: str, guarantee: str, stack: Stack
) -> None:
    """Three at a time; exactly once no result is there twice."""
    names, group, numbers = stack.topics(), f"g-{uuid.uuid4().hex[:8]}", range(40_000)
    stack.publish(names.input, numbers)
    words = ["--from", "earliest", "--servable", TABLE, "--client", client, "--json"]
    words += ["--guarantee", guarantee, "--group", group, *SLOW, *SESSION]
    words += ["--set", "batching.max_in_flight_records=1000"]

    with ExitStack() as opened:
        replicas = [opened.enter_context(stack.process(names, *words)) for _ in range(3)]
        for kill in range(STORM_KILLS):
            replica = replicas[kill % 3]
            wait_for_more(stack, names, group)
            if not all(one.running for one in replicas):
                break
            replica.kill()
            replica.start()
        ended = [replica.wait(LIMIT_SECONDS) for replica in replicas]
    account = orjson.loads(stack.replay(names, *words).out)

    assert ended == [0, 0, 0]
    assert (account["read"], account["results"], account["missing"]) == (40_000, 36_000, 0)
    found = places(stack.read(names.output))
    assert found.keys() == expected_places(names, numbers)
    if guarantee == "exactly_once":
        assert set(found.values()) == {1}


def test_replicas_share_a_replay(stack: Stack) -> None:
    """Both end by themselves with the account of both, and no record is answered by both."""
    names = stack.topics()
    stack.publish(names.input, range(2000))
    words = ["--from", "earliest", "--servable", TABLE, "--guarantee", "exactly_once", "--json"]

    with stack.process(names, *words) as first, stack.process(names, *words) as second:
        accounts = [orjson.loads(one.read_line(LIMIT_SECONDS)) for one in (first, second)]
        codes = [one.wait(LIMIT_SECONDS) for one in (first, second)]

    assert codes == [0, 0]
    assert [account["read"] for account in accounts] == [2000, 2000]
    assert places(stack.read(names.output)) == Counter(expected_places(names, range(2000)))


def test_differences_to_what_was_published_are_written(stack: Stack) -> None:
    """What a version says of the same records, beside what was published then.

    A published result that cannot be read is counted, and ends nothing.
    """
    names = stack.topics()
    stack.publish(names.input, range(40))
    live = [a_result(n, f"k{n}@{1 + n % 2}") for n in range(40) if n % 10]
    url = ("ce_dataref", b"file:///nowhere/result")
    live[0] = replace(live[0], value=b"", headers=[*live[0].headers, url])
    stack.send(f"{names.input}.live", [*live, KafkaRecord("", 0, 0, 0, None, b"?", [])])
    file = stack.directory / "differences.jsonl"

    done = stack.replay(
        *(names, "--from", "1d", "--servable", f"{TABLE}=2", "--compare", str(file), "--json")
    )

    assert done.code == 0, done.err
    assert orjson.loads(done.out)["compared"] == {
        "equal": 19,
        "different": 16,
        "dead_letters": 0,
        "not_published": 0,
        "not_comparable": 1,
        "other_records": 1,
        "largest_difference": 0.0,
    }
    lines = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    not_comparable = lines.pop()
    assert not_comparable["id"] == an_id(1)
    assert "file:///nowhere/result is under no allowed prefix" in not_comparable["not_comparable"]
    assert {one["published"]["prediction"][-2:] for one in lines} == {"@1"}
    assert {one["replayed"]["version"] for one in lines} == {2}


def test_offsets_that_were_deleted_are_refused(stack: Stack) -> None:
    """As the broker tells them."""
    names = stack.topics()
    stack.publish(names.input, range(40))
    delete_records(stack.bootstrap_servers, names.input, 0, 5)
    partitions = [TopicPartition(names.input, n) for n in (0, 1)]

    with closing(stack.broker.admin()) as admin:
        log = admin.log_offsets(partitions, LIMIT_SECONDS)
        start = read_bound("--from", "earliest", "0:0")
        finder = RangeFinder(start, read_bound("--to", "latest", "latest"), log)
        with pytest.raises(UsageError, match="records before offset 5 were deleted by retention"):
            finder.find(admin, finder.partitions())
