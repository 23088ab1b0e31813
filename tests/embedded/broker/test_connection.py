"""What a connection does with bytes, against the broker's process."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kafka.protocol.admin import DescribeAclsRequest
from kafka.protocol.consumer import FetchRequest
from kafka.protocol.metadata import ApiVersionsRequest, MetadataRequest
from kafka.protocol.producer import ProduceRequest

from tests.support.kafka.record_batches import a_payload
from tests.support.processes.stack import RawClient, a_frame, raw_client, resident_bytes
from topicserve.embedded.broker.apis import APIS
from topicserve.embedded.broker.error_codes import ErrorCode
from topicserve.embedded.kafka_server import KafkaServer


def metadata_request() -> MetadataRequest:
    """Return a request that every broker answers."""
    return MetadataRequest(topics=[], allow_auto_topic_creation=False)


def answers(client: RawClient) -> bool:
    """Tell whether a connection still works."""
    return len(client.ask(metadata_request(), 7).brokers) == 1


def test_requests_are_answered_in_order(broker: KafkaServer) -> None:
    """Whatever was sent ahead is answered one after the other."""
    with raw_client(broker.bootstrap_servers) as client:
        client.send(
            a_frame(ApiVersionsRequest(), 0)
            + a_frame(metadata_request(), 7)
            + a_frame(ApiVersionsRequest(), 0)
        )
        sizes = [len(client.receive()) for _ in range(3)]

    assert sizes[0] == sizes[2] != sizes[1]


def test_frames_may_come_byte_by_byte(broker: KafkaServer) -> None:
    """Where the network cuts means nothing."""
    frame = a_frame(metadata_request(), 7)
    with raw_client(broker.bootstrap_servers) as client:
        for position in range(len(frame)):
            client.send(frame[position : position + 1])

        assert client.receive()


def test_api_versions_tells_what_is_understood(broker: KafkaServer) -> None:
    """Clients choose their versions by it."""
    with raw_client(broker.bootstrap_servers) as client:
        response = client.ask(ApiVersionsRequest(), 3)

    told = {each.api_key: (each.min_version, each.max_version) for each in response.api_keys}
    assert response.error_code == 0
    assert told == {key: (api.min_version, api.max_version) for key, api in APIS.items()}


def test_an_unknown_version_of_api_versions_is_answered_in_version_0(broker: KafkaServer) -> None:
    """A client of the future learns what it may use instead (KIP-511)."""
    future = bytearray(a_frame(ApiVersionsRequest(), 3))
    future[6:8] = (99).to_bytes(2, "big")
    with raw_client(broker.bootstrap_servers) as client:
        client.send(bytes(future))
        answer = client.receive()
        assert answers(client)

    assert int.from_bytes(answer[4:6], "big") == ErrorCode.UNSUPPORTED_VERSION
    assert int.from_bytes(answer[6:10], "big") == len(APIS)


def test_an_unsupported_request_gets_the_protocols_error(broker: KafkaServer) -> None:
    """Both a version too new and a kind not known here, where their answers have an error."""
    fetch = FetchRequest(max_wait_ms=0, min_bytes=0, max_bytes=1, isolation_level=0, topics=[])
    acls = DescribeAclsRequest(
        resource_type_filter=2,
        resource_name_filter=None,
        pattern_type_filter=3,
        principal_filter=None,
        host_filter=None,
        operation=1,
        permission_type=1,
    )
    with raw_client(broker.bootstrap_servers) as client:
        codes = [client.ask(fetch, 13).error_code, client.ask(acls, 1).error_code]
        assert answers(client)

    assert codes == [ErrorCode.UNSUPPORTED_VERSION] * 2


@pytest.mark.parametrize(
    "content",
    [
        a_frame(ProduceRequest(transactional_id=None, acks=1, timeout_ms=1, topic_data=[]), 13),
        b"\x00\x00\x00\x0a\x7f\xff\x00\x00\x00\x00\x00\x01\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x09123456789",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00\x00\x00\x0e\x00\x03\x00\x07\x00\x00\x00\x01\xff\xff\x7f\xff\xff\xff",
    ],
)
def test_bytes_that_are_no_request_end_their_connection_alone(
    broker: KafkaServer, content: bytes
) -> None:
    """No frame at all, one too large, one cut off, an answer without a place for an error."""
    with raw_client(broker.bootstrap_servers) as bad, raw_client(broker.bootstrap_servers) as good:
        bad.send(content)

        assert bad.finish() == b""
        assert answers(good)


@pytest.mark.parametrize("isolation_level", [0, 1])
def test_a_waiting_fetch_is_answered_by_the_record(
    broker: KafkaServer, isolation_level: int
) -> None:
    """It would have waited for weeks."""
    topic = f"wake-up-{isolation_level}"
    with two_clients(broker, topic) as (reader, writer):
        reader.send(a_frame(a_long_fetch(topic, isolation_level), 11))
        writer.send(a_frame(a_produce(topic, a_payload([b"woken"])), 7))

        assert b"woken" in reader.receive()


def test_a_waiting_request_holds_up_no_other_connection(broker: KafkaServer) -> None:
    """A long fetch waits by itself, and its client may go away meanwhile."""
    with two_clients(broker, "held-up") as (first, other):
        first.send(a_frame(a_long_fetch("held-up"), 11))

        assert answers(other)
        assert first.finish() == b""


def test_a_client_that_does_not_read_is_not_answered_for_ever(broker: KafkaServer) -> None:
    """Its answers do not pile up in the broker's memory."""
    topic = "unread"
    fetches = a_frame(a_long_fetch(topic), 11) * 200
    with two_clients(broker, topic) as (slow, writer):
        for _ in range(16):
            writer.ask(a_produce(topic, a_payload([b"v" * 500_000])), 7)
        before = resident_bytes(broker.pid)
        slow.send(fetches)
        assert answers(writer)

        assert resident_bytes(broker.pid) - before < 100 << 20
        assert len(slow.receive()) > 7_000_000


@contextmanager
def two_clients(broker: KafkaServer, topic: str) -> Iterator[tuple[RawClient, RawClient]]:
    """Open two connections and create a topic."""
    with (
        raw_client(broker.bootstrap_servers) as first,
        raw_client(broker.bootstrap_servers) as second,
    ):
        first.ask(MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name=topic)]), 7)
        yield first, second


def a_long_fetch(topic: str, isolation_level: int = 0) -> FetchRequest:
    """Return a fetch from the first partition's start that waits as long as it can be said."""
    partition = FetchRequest.FetchTopic.FetchPartition(
        partition=0,
        current_leader_epoch=-1,
        fetch_offset=0,
        log_start_offset=-1,
        partition_max_bytes=50 << 20,
    )
    return FetchRequest(
        replica_id=-1,
        max_wait_ms=2**31 - 1,
        min_bytes=1,
        max_bytes=50 << 20,
        isolation_level=isolation_level,
        session_id=0,
        session_epoch=-1,
        topics=[FetchRequest.FetchTopic(topic=topic, partitions=[partition])],
        forgotten_topics_data=[],
        rack_id="",
    )


def a_produce(topic: str, records: bytes) -> ProduceRequest:
    """Return a request that appends a batch to the first partition."""
    data_class = ProduceRequest.TopicProduceData
    data = data_class.PartitionProduceData(index=0, records=records)
    return ProduceRequest(
        transactional_id=None,
        acks=1,
        timeout_ms=1_000,
        topic_data=[data_class(name=topic, partition_data=[data])],
    )
