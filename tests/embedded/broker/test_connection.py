"""What a connection does with bytes, against the broker's process."""

import pytest
from kafka.protocol.admin import DescribeAclsRequest
from kafka.protocol.consumer import FetchRequest
from kafka.protocol.metadata import ApiVersionsRequest, MetadataRequest
from kafka.protocol.producer import ProduceRequest

from tests.support.stack import RawClient, a_frame, raw_client
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


def test_a_waiting_request_holds_up_no_other_connection(broker: KafkaServer) -> None:
    """A long fetch waits by itself, and its client may go away meanwhile."""
    waiting = FetchRequest(
        max_wait_ms=2**31 - 1,
        min_bytes=1,
        max_bytes=1,
        isolation_level=0,
        session_id=0,
        session_epoch=-1,
        topics=[a_topic("held-up")],
        forgotten_topics_data=[],
    )
    with (
        raw_client(broker.bootstrap_servers) as first,
        raw_client(broker.bootstrap_servers) as other,
    ):
        first.ask(MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name="held-up")]), 7)
        first.send(a_frame(waiting, 7))

        assert answers(other)
        assert first.finish() == b""


def a_topic(name: str) -> FetchRequest.FetchTopic:
    """Return what to fetch of a topic's first partition."""
    partition = FetchRequest.FetchTopic.FetchPartition(
        partition=0, fetch_offset=0, log_start_offset=-1, partition_max_bytes=1
    )
    return FetchRequest.FetchTopic(topic=name, partitions=[partition])
