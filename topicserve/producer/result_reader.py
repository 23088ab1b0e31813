"""Reads results, filtered by their headers, and dead letters."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Self

from topicserve.backends.broker import Consumer
from topicserve.backends.defaults import DEFAULT_CLIENT
from topicserve.backends.errors import BackendConfigError, UnknownTopicError
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.references.body_reader import BodyReader
from topicserve.producer import arguments
from topicserve.producer.topic_reader import CheckTopic, OnInvalid, OnUnavailable, TopicReader
from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import DeadLetter, decode_dead_letter
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import MetadataStatus, Result, decode_result, text_headers

# For the answer whether a topic is there.
CHECK_ANSWER_SECONDS = 5.0


class ResultReader(TopicReader[Result]):
    """Yields the results of an output topic; those that the filters leave out are never decoded.

        for result in reader.read(until_end=True):
            print(result.record_id, result.version, result.value, result.metadata)

    Results of aborted transactions are not read. Under at-least-once delivery a result may come
    twice, with the same record id.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        *,
        servable: str | None = None,
        version: int | None = None,
        metadata_status: MetadataStatus | str | None = None,
        on_invalid: OnInvalid | None = None,
        on_unavailable: OnUnavailable | None = None,
        check_topic: CheckTopic | None = None,
        bodies: BodyReader | None = None,
    ) -> None:
        is_wanted = header_filter(servable, version, metadata_status)

        def decode(record: KafkaRecord) -> Result | None:
            if not is_wanted(record):
                return None
            return decode_result(
                record if bodies is None else bodies.follow(record, self.body_read)
            )

        super().__init__(
            consumer,
            topic,
            decode,
            on_invalid=on_invalid,
            on_unavailable=on_unavailable,
            check_topic=check_topic,
        )

    @classmethod
    def connect(
        cls,
        bootstrap_servers: str | Sequence[str],
        topic: str,
        *,
        group_id: str | None = None,
        client: str = DEFAULT_CLIENT,
        kafka_settings: Mapping[str, object] | None = None,
        servable: str | None = None,
        version: int | None = None,
        metadata_status: MetadataStatus | str | None = None,
        on_invalid: OnInvalid | None = None,
        on_unavailable: OnUnavailable | None = None,
        bodies: BodyReader | None = None,
    ) -> Self:
        """Return a reader with a connection of its own.

        With a `group_id` it goes on where that group last committed, and shares the partitions
        with the group's other members; without one it reads from the beginning, alone.
        `servable`, `version` and `metadata_status` leave out all other results, by their headers.
        `on_invalid` hears of records that are no results; without it `read` raises their error.
        `bodies` reads the results that workers have stored elsewhere; without it these are invalid.
        `on_unavailable` hears of those whose store did not give the body within the time that
        `bodies` has, and they are passed over: the way on where one object always fails. What it
        raises, `read` raises, and the next `read` begins with the same result; so it does without
        `on_unavailable`, with a BackendUnavailableError.
        `kafka_settings` are Kafka's own names and values. Raises BackendConfigError naming the
        setting or argument that is wrong; whether brokers and topic are there shows in `read`.
        """
        arguments.topic_name(topic)  # before a connection is opened that would stay open
        header_filter(servable, version, metadata_status)
        return cls(
            open_consumer(bootstrap_servers, group_id, client, kafka_settings),
            topic,
            servable=servable,
            version=version,
            metadata_status=metadata_status,
            on_invalid=on_invalid,
            on_unavailable=on_unavailable,
            check_topic=topic_check(bootstrap_servers, topic, client, kafka_settings),
            bodies=bodies,
        )


def header_filter(
    servable: str | None, version: int | None, metadata_status: MetadataStatus | str | None
) -> Callable[[KafkaRecord], bool]:
    """Return what tells by the headers whether a result is wanted; None wants any."""
    arguments.text_or_none(servable, "servable")
    arguments.version_or_none(version, "version")
    if not isinstance(metadata_status, MetadataStatus):
        arguments.text_or_none(metadata_status, "metadata_status")
    status = metadata_status.value if isinstance(metadata_status, MetadataStatus) else None
    if isinstance(metadata_status, str):
        status = _status(metadata_status)
    named = {
        names.SERVABLE: servable,
        names.SERVABLE_VERSION: None if version is None else str(version),
        names.METADATA_STATUS: status,
    }
    wanted = {name: text for name, text in named.items() if text is not None}

    def is_wanted(record: KafkaRecord) -> bool:
        if not wanted:
            return True
        found = text_headers(record.headers)
        return all(found.get(name) == text for name, text in wanted.items())

    return is_wanted


def _status(given: str) -> str:
    known = [status.value for status in MetadataStatus]
    if given not in known:
        raise BackendConfigError(
            f"metadata_status must be one of {', '.join(known)}, found {given!r}"
        )
    return given


class DeadLetterReader(TopicReader[DeadLetter]):
    """Yields the records that workers gave up, each with its reason, as they were read.

    `servable` leaves out those whose own header `ce_servable` names another one, or none.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        *,
        servable: str | None = None,
        on_invalid: OnInvalid | None = None,
        check_topic: CheckTopic | None = None,
    ) -> None:
        is_wanted = header_filter(servable, None, None)

        def decode(record: KafkaRecord) -> DeadLetter | None:
            return decode_dead_letter(record) if is_wanted(record) else None

        super().__init__(consumer, topic, decode, on_invalid=on_invalid, check_topic=check_topic)

    @classmethod
    def connect(
        cls,
        bootstrap_servers: str | Sequence[str],
        topic: str,
        *,
        group_id: str | None = None,
        client: str = DEFAULT_CLIENT,
        kafka_settings: Mapping[str, object] | None = None,
        servable: str | None = None,
        on_invalid: OnInvalid | None = None,
    ) -> Self:
        """Return a reader with a connection of its own; arguments as ResultReader.connect's.

        Without `on_invalid`, a record of the topic that is no dead letter is raised by `read`.
        """
        arguments.topic_name(topic)  # before a connection is opened that would stay open
        header_filter(servable, None, None)
        consumer = open_consumer(bootstrap_servers, group_id, client, kafka_settings)
        check = topic_check(bootstrap_servers, topic, client, kafka_settings)
        return cls(consumer, topic, servable=servable, on_invalid=on_invalid, check_topic=check)


def open_consumer(
    bootstrap_servers: str | Sequence[str],
    group_id: str | None,
    client: str,
    kafka_settings: Mapping[str, object] | None,
) -> Consumer:
    """Open a member of the group, or of a group of its own, that starts at the beginning."""
    # Results of transactions that were aborted are no results.
    settings: dict[str, object] = {
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
    settings |= arguments.settings_of(kafka_settings)
    group = arguments.text_or_none(group_id, "group_id") or f"topicserve-reader-{uuid.uuid4()}"
    broker = open_broker(client, {"bootstrap.servers": arguments.server_list(bootstrap_servers)})
    return broker.consumer(group, settings)


def topic_check(
    bootstrap_servers: str | Sequence[str],
    topic: str,
    client: str,
    kafka_settings: Mapping[str, object] | None,
) -> CheckTopic:
    """Return what asks the brokers about a topic, each time over a connection of its own."""
    servers: dict[str, object] = {"bootstrap.servers": arguments.server_list(bootstrap_servers)}
    settings = arguments.settings_of(kafka_settings) | servers

    def check() -> None:
        try:
            admin = open_broker(client, settings).admin()
        except BackendConfigError:
            return  # a setting that consumers alone have: they have taken it
        with closing(admin):
            if admin.partitions(topic, CHECK_ANSWER_SECONDS) is None:
                raise UnknownTopicError(
                    f'the topic "{topic}" does not exist: correct the name, or create it'
                )

    return check
