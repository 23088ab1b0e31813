"""Batches that no client writes, but that anyone may: on the embedded broker, which takes them."""

import subprocess
import sys
import textwrap

import pytest

from tests.conformance.port.conftest import OpenPort
from tests.support.kafka.hostile_batches import BOMB_BYTES, CODECS, variants, write
from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import Port, send
from tests.support.kafka.tcp_proxy import altering
from topicserve.backends.broker import OffsetAndMetadata
from topicserve.backends.confluent.reading.careful import FIRST_BYTES, CarefulReader, known_settings
from topicserve.wire.kafka_record import (
    KafkaRecord,
    OutgoingRecord,
    TopicPartition,
    UnreadableHeaders,
)

pytestmark = pytest.mark.parametrize("broker_name", ["embedded"], indirect=True)

VALUES = [b"%02d" % number * 50 for number in range(20)]
MAX_BYTES = 1_000_000
# What any client reads as if nothing were wrong, or passes over, by its library's own rules.
LENIENT = {"garbage behind", "twice"}


@pytest.mark.parametrize("name", CODECS)
def test_no_hostile_batch_stops_its_partition(port: Port, server: Server, name: str) -> None:
    """Cut off, altered, doubled, empty, far too large: records before and behind it are read.

    What is read of it is as it was written; what is not has one record that names its offsets.
    """
    cases = list(variants(name, VALUES))
    topic = port.topic(partitions=len(cases))
    put_between(port, server, topic, [batch for _, batch in cases])

    member = port.member(topic, settings={"topicserve.max.decompressed.bytes": MAX_BYTES})
    member.poll_until(lambda: behind(member.records) == set(range(len(cases))))

    for number, (what, _) in enumerate(cases):
        records = [record for record in member.records if record.partition == number]
        good = [record for record in records if not isinstance(record.headers, UnreadableHeaders)]
        passed_over = [one for one in records if isinstance(one.headers, UnreadableHeaders)]
        assert good[0].value == b"before"
        assert all(one.value == VALUES[one.offset - 1] for one in good[1:-1])
        assert sorted({record.offset for record in records}) == [one.offset for one in records]
        if what == "whole":
            assert len(good) == len(VALUES) + 2
        elif what not in LENIENT:
            (record,) = passed_over
            assert isinstance(record.headers, UnreadableHeaders)
            assert record.offset == len(VALUES)
            assert record.headers.first_offset == len(good) - 1
            assert f"to {len(VALUES)} of {topic}-{number} cannot be read" in record.headers.problem
            assert record.headers.is_too_large == (what == "bomb")


def test_what_a_batch_may_decompress_to_can_be_set(port: Port, server: Server) -> None:
    """Up to the limit a batch is decompressed, and then it is judged by what it holds."""
    topic = port.topic(partitions=1)
    bomb = dict(variants("gzip", VALUES))["bomb"]
    put_between(port, server, topic, [bomb])

    member = port.member(topic, settings={"topicserve.max.decompressed.bytes": BOMB_BYTES})
    member.poll_until(lambda: behind(member.records))

    (unreadable,) = (
        record.headers for record in member.records if isinstance(record.headers, UnreadableHeaders)
    )
    assert not unreadable.is_too_large  # it is nothing but zeros, which are no records


CHILD = """
    import sys
    import time

    from tests.support.kafka.port import Port
    from topicserve.backends.confluent.reading import detours
    from topicserve.backends.confluent.reading.stalls import StallWatch
    from topicserve.backends.errors import BackendError
    from topicserve.backends.kafka_clients import open_broker

    servers, topic = sys.argv[1:]
    detours._ANSWER_SECONDS = 0.5
    port = Port(open_broker("confluent", {"bootstrap.servers": servers}))
    member = port.member(topic)
    member.consumer._detours.stalls = StallWatch(0.5, time.monotonic)
    member.poll_until(lambda: len(member.records) >= 1)
    print("reads", flush=True)
    try:
        member.poll_until(lambda: any(one.value == b"behind" for one in member.records))
    except BackendError as error:
        print(error, flush=True)
        port.close()
        sys.exit(1)
    print([one.offset for one in member.records])
    port.close()
"""


@pytest.mark.parametrize("client", ["confluent"], indirect=True)
@pytest.mark.parametrize(
    ("codec", "what", "ends"),
    [("gzip", "half", 1), ("lz4", "of nothing", -6), ("lz4", "records cut off", 0)],
)
def test_a_batch_that_comes_while_librdkafka_reads_costs_one_start_at_most(
    port: Port, server: Server, codec: str, what: str, ends: int
) -> None:
    """It spins, aborts or fetches for ever: then the process ends, and the next gets past it."""
    topic = port.topic(partitions=1)
    producer = port.producer()
    send(producer, [OutgoingRecord(topic, None, b"before", (), 0)])
    first = reader(server, topic)
    assert first.stdout is not None
    assert first.stdout.readline() == "reads\n"

    write(server.bootstrap_servers, topic, 0, dict(variants(codec, VALUES))[what])
    send(producer, [OutgoingRecord(topic, None, b"behind", (), 0)])

    said, _ = first.communicate(timeout=30)
    assert first.returncode == ends
    assert ("librdkafka hangs in a batch at offset 1" in said) == (ends == 1)
    if ends:
        said, _ = reader(server, topic).communicate(timeout=30)
    assert said.rstrip().endswith("20, 21]")


@pytest.mark.parametrize("client", ["confluent"], indirect=True)
def test_more_is_looked_at_where_the_member_before_did_not_leave_in_order(
    port: Port, server: Server
) -> None:
    """Then a text stands beside the offset, and any batch may be the one that it died of."""
    topic = port.topic(partitions=1)
    partition = TopicPartition(topic, 0)
    good = [OutgoingRecord(topic, None, bytes(1000), (), 0)] * (FIRST_BYTES // 1000 * 3)
    send(port.producer(), good)
    write(server.bootstrap_servers, topic, 0, dict(variants("gzip", VALUES))["half"])
    settings = {
        "bootstrap.servers": server.bootstrap_servers,
        "auto.offset.reset": "earliest",
        "group.id": "group",
        "group.instance.id": "worker-1",
        "queued.max.messages.kbytes": 2048,
    }
    reader = CarefulReader(known_settings(settings), MAX_BYTES)

    assert reader.screen([partition], {partition: OffsetAndMetadata(5)}) == {}
    assert reader.screen([partition], {partition: None}) == {}
    assert reader.screen([partition], {partition: OffsetAndMetadata(5, "working=1")}) == {
        partition: (5, len(good) + len(VALUES))
    }


@pytest.mark.parametrize("name", ["altered", "whole"])
def test_a_batch_that_was_altered_on_the_disk_is_not_processed(
    port: Port, server: Server, open_port: OpenPort, name: str
) -> None:
    """Its checksum is looked at by both clients: it is passed over, its neighbours are read."""
    topic = port.topic(partitions=1)
    producer = port.producer()
    for value in (b"before", b"7" * 50, b"behind"):
        send(producer, [OutgoingRecord(topic, None, value, (), 0)])

    with altering(
        server.bootstrap_servers, {b"7" * 50: b"8" * 50} if name == "altered" else {}
    ) as at:
        records = open_port(at).member(topic).read(3)

    assert records[0].value == b"before"
    assert records[2].value == b"behind"
    headers = records[1].headers
    assert isinstance(headers, UnreadableHeaders) == (name == "altered")
    if isinstance(headers, UnreadableHeaders):
        assert records[1].value is None
        assert f"offsets 1 to 1 of {topic}-0 cannot be read" in headers.problem
        assert "crc" in headers.problem.lower()


def reader(server: Server, topic: str) -> subprocess.Popen[str]:
    """Start a process that reads a topic with confluent-kafka, and may not survive it."""
    arguments = [sys.executable, "-c", textwrap.dedent(CHILD), server.bootstrap_servers, topic]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def put_between(port: Port, server: Server, topic: str, batches: list[bytes]) -> None:
    """Write a batch into each partition, between two records."""
    producer = port.producer()
    for value in (b"before", b"behind"):
        partitions = range(len(batches))
        send(producer, [OutgoingRecord(topic, None, value, (), number) for number in partitions])
        if value == b"before":
            for number, batch in enumerate(batches):
                write(server.bootstrap_servers, topic, number, batch)


def behind(records: list[KafkaRecord]) -> set[int]:
    """Return the partitions whose last record was read."""
    return {record.partition for record in records if record.value == b"behind"}
