import pytest

from tests.support.kafka.kafka_servers import Server
from tests.support.kafka.port import Port, numbered, numbers, send
from topicserve.backends.kafka_clients import open_broker

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_written_and_read(
    port: Port, server: Server, client: str, codec: str
) -> None:
    """What either client has compressed, this one reads, headers and all."""
    topic = port.topic(partitions=1)
    other = {"kafka-python": "confluent", "confluent": "kafka-python"}[client]
    others = Port(open_broker(other, {"bootstrap.servers": server.bootstrap_servers}))
    settings = {"compression.type": codec}

    assert send(port.producer(settings), numbered(topic, 500)) == [None] * 500
    assert send(others.producer(settings), numbered(topic, 500)) == [None] * 500

    assert numbers(port.member(topic).read(1_000)) == [*range(500), *range(500)]
    others.close()
