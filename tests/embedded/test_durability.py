"""The broker with `data_dir`, killed again and again under load."""

import itertools
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import confluent_kafka
from kafka.protocol.metadata import MetadataRequest
from kafka.protocol.producer import InitProducerIdRequest, ProduceRequest

from tests.support.kafka.record_batches import a_payload
from tests.support.processes.stack import RawClient, raw_client
from topicserve.embedded.kafka_server import KafkaServer

LIMIT_SECONDS = 30.0
KILLS = 20
RECORDS_A_BATCH = 10
RECORDS_A_KILL = 500
TRANSACTIONS_A_KILL = 3
PARTITIONS = 4
TOPIC = "numbers"


class Writer:
    """An idempotent producer that counts up in one partition, in a thread.

    What a kill left without an answer is sent once more, under the same sequence numbers.
    """

    def __init__(self, server: KafkaServer, partition: int, alive: threading.Event) -> None:
        self._address = server.bootstrap_servers
        self._partition = partition
        self._alive = alive
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._producer_id = -1
        self.acknowledged = 0

    def start(self) -> None:
        """Begin to write."""
        with raw_client(self._address) as client:
            request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1)
            self._producer_id = client.ask(request, 1).producer_id
        self._thread.start()

    def wait_for(self, count: int) -> None:
        """Wait until so many numbers are acknowledged."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.acknowledged >= count, LIMIT_SECONDS)

    def end(self) -> None:
        """Write no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with raw_client(self._address) as client:
                    while not self._ended.is_set():
                        self._write(client)
            except ConnectionError:
                assert self._alive.wait(LIMIT_SECONDS)

    def _write(self, client: RawClient) -> None:
        first = self.acknowledged
        values = [b"%d" % number for number in range(first, first + RECORDS_A_BATCH)]
        records = a_payload(values, producer=(self._producer_id, 0, first))
        topic = ProduceRequest.TopicProduceData
        data = topic.PartitionProduceData(index=self._partition, records=records)
        request = ProduceRequest(
            transactional_id=None,
            acks=-1,
            timeout_ms=1_000,
            topic_data=[topic(name=TOPIC, partition_data=[data])],
        )
        (answer,) = client.ask(request, 7).responses[0].partition_responses
        assert (answer.error_code, answer.base_offset) == (0, first)
        with self._changed:
            self.acknowledged += RECORDS_A_BATCH
            self._changed.notify_all()


def create_topic(server: KafkaServer) -> None:
    """Create the topic by asking for it."""
    with raw_client(server.bootstrap_servers) as client:
        topic = MetadataRequest.MetadataRequestTopic(name=TOPIC)
        client.ask(MetadataRequest(topics=[topic], allow_auto_topic_creation=True), 7)


def read_all(server: KafkaServer) -> dict[int, list[int]]:
    """Return the numbers that a reader of committed records finds in each partition."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": server.bootstrap_servers,
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign(
        [confluent_kafka.TopicPartition(TOPIC, index, 0) for index in range(PARTITIONS)]
    )
    found: dict[int, list[int]] = defaultdict(list)
    ended = 0
    while ended < PARTITIONS:
        messages = consumer.consume(10_000, 0.5)
        assert messages, f"{ended} of {PARTITIONS} partitions could be read to their ends"
        for message in messages:
            if message.error() is None:
                found[message.partition()].append(int(message.value()))
            else:
                ended += 1
    consumer.close()
    return found


def test_every_acknowledged_record_survives_kills_under_load(tmp_path: Path) -> None:
    """After 20 kills each is there, once and in order, and nothing but what went unanswered."""
    alive = threading.Event()
    with KafkaServer(data_dir=tmp_path, num_partitions=PARTITIONS) as server:
        create_topic(server)
        writers = [Writer(server, partition, alive) for partition in range(PARTITIONS)]
        for writer in writers:
            writer.start()
        for kill in range(1, KILLS + 1):
            writers[kill % PARTITIONS].wait_for(kill * RECORDS_A_KILL)
            alive.clear()
            restart_server(server)
            alive.set()
        for writer in writers:
            writer.end()

        found = read_all(server)

    for partition, writer in enumerate(writers):
        assert found[partition] == list(range(len(found[partition])))
        # The last kill may have left one batch written and not acknowledged.
        assert len(found[partition]) - writer.acknowledged in (0, RECORDS_A_BATCH)
    assert max(map(len, found.values())) >= KILLS * RECORDS_A_KILL


def test_kills_never_split_a_transaction(tmp_path: Path) -> None:
    """Each one's records, in all partitions, and its offset are committed together or not at all.

    A transaction whose commit was answered is there; where it failed, either may be.
    """
    committed: list[int] = []
    unsure: set[int] = set()
    numbers = itertools.count()
    with KafkaServer(data_dir=tmp_path, num_partitions=PARTITIONS) as server:
        create_topic(server)
        group = group_metadata(server)
        for kill in range(KILLS // 2):
            producer = a_transactional_producer(server)
            ahead = itertools.islice(numbers, TRANSACTIONS_A_KILL)
            committed += [transact(producer, group, number) for number in ahead]
            restart = threading.Timer(0.002 * kill, restart_server, [server])
            restart.start()
            number = next(numbers)
            try:
                committed.append(transact(producer, group, number))
            except confluent_kafka.KafkaException:
                unsure.add(number)
            restart.join()

        found = read_all(server)
        offset = committed_offset(server)

    assert all(found[partition] == found[0] for partition in range(PARTITIONS))
    assert set(committed) <= set(found[0]) <= set(committed) | unsure
    assert offset == found[0][-1]


def restart_server(server: KafkaServer) -> None:
    """Kill the server and start it again."""
    server.kill()
    server.start()


def a_transactional_producer(server: KafkaServer) -> Any:
    """Open a producer that fences the one before."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": server.bootstrap_servers,
            "transactional.id": "tx",
            "linger.ms": 0,
            "log_level": 0,
            # Otherwise it forgets who coordinates transactions when its only broker is away.
            "metadata.recovery.strategy": "none",
        }
    )
    producer.init_transactions(LIMIT_SECONDS)
    return producer


def transact(producer: Any, group: Any, number: int) -> int:
    """Write a number to every partition, and as a group's offset, in one transaction."""
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(TOPIC, b"%d" % number, partition=partition)
    offsets = [confluent_kafka.TopicPartition(TOPIC, 0, number)]
    producer.send_offsets_to_transaction(offsets, group, LIMIT_SECONDS)
    producer.commit_transaction(LIMIT_SECONDS)
    return number


def group_metadata(server: KafkaServer) -> Any:
    """Return the group of the transactions' offsets."""
    consumer = a_group_reader(server)
    metadata = consumer.consumer_group_metadata()
    consumer.close()
    return metadata


def committed_offset(server: KafkaServer) -> int:
    """Return the offset that the transactions committed last."""
    consumer = a_group_reader(server)
    (place,) = consumer.committed([confluent_kafka.TopicPartition(TOPIC, 0)], LIMIT_SECONDS)
    consumer.close()
    return int(place.offset)


def a_group_reader(server: KafkaServer) -> Any:
    """Open a consumer of the transactions' group."""
    return confluent_kafka.Consumer(
        {"bootstrap.servers": server.bootstrap_servers, "group.id": "transactions"}
    )
