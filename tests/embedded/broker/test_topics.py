from pathlib import Path

import pytest

from tests.support.kafka.record_batches import a_batch
from topicserve.embedded.broker.config import BrokerConfig
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.log.journal import Journal
from topicserve.embedded.broker.topics import Topics


def open_topics(path: Path | None = None, *, retention_bytes: int = 1 << 30) -> Topics:
    """Open topics, kept under a path if there is one."""
    config = BrokerConfig(data_dir=path, retention_bytes=retention_bytes)
    return Topics(config, Journal(path and path / "journal"))


def code_of(caught: pytest.ExceptionInfo[KafkaError]) -> ErrorCode:
    """Return the error's code."""
    return caught.value.code


def test_topics_and_records_are_there_after_a_restart(tmp_path: Path) -> None:
    """A topic keeps its id, partitions, settings and records."""
    first = open_topics(tmp_path)
    created = first.create("a", 2, {"retention.bytes": "1000"})
    first.append(created.partitions[1], a_batch())

    found = open_topics(tmp_path).find("a")

    assert found is not None
    assert (found.topic_id, found.configs) == (created.topic_id, created.configs)
    assert [partition.end_offset for partition in found.partitions] == [0, 1]


def test_a_deleted_topic_leaves_nothing_behind(tmp_path: Path) -> None:
    """Made again it is empty and another topic, also when a kill left files of the old one."""
    first = open_topics(tmp_path)
    old = first.create("a", 1)
    first.append(old.partitions[0], a_batch())
    first.delete(old)
    assert list((tmp_path / "topics").iterdir()) == []
    (tmp_path / "topics" / "a-0").mkdir()
    (tmp_path / "topics" / "a-0" / f"{0:020d}.log").write_bytes(bytes(a_batch().payload))

    second = open_topics(tmp_path)
    new = second.create("a", 1)

    assert new.topic_id != old.topic_id
    assert new.partitions[0].end_offset == 0


def test_records_of_all_partitions_together_are_bounded() -> None:
    """The largest partition gives its oldest records first; small ones keep theirs."""
    topics = open_topics(retention_bytes=16_000)
    topic = topics.create("a", 2)
    large, small = topic.partitions
    topics.append(small, a_batch())

    for _ in range(100):
        topics.append(large, a_batch([b"v" * 1_000]))

    assert 8_000 < large.size_bytes + small.size_bytes <= 16_000
    assert large.log_start_offset > 0
    assert large.end_offset == 100
    assert small.log_start_offset == 0


def test_a_topic_has_its_own_bound() -> None:
    """As in Kafka `retention.bytes` is a partition's, and what is written to now always stays."""
    topics = open_topics()
    topic = topics.create("a", 1, {"retention.bytes": "5000", "segment.bytes": "1000"})

    for _ in range(100):
        topics.append(topic.partitions[0], a_batch([b"v" * 500]))

    assert topic.partitions[0].size_bytes <= 5_000
    assert topic.partitions[0].end_offset == 100


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "x" * 250, "a\nb", "ä"])
def test_names_are_kafkas(name: str) -> None:
    """Nothing else becomes the name of a directory."""
    with pytest.raises(KafkaError) as caught:
        open_topics().create(name, 1)
    assert code_of(caught) == ErrorCode.INVALID_TOPIC_EXCEPTION


@pytest.mark.parametrize("count", [0, -1, 10_001, 2**31 - 1])
def test_partitions_are_bounded(count: int) -> None:
    """One request cannot take all memory."""
    topics = open_topics()

    with pytest.raises(KafkaError) as caught:
        topics.create("a", count)
    assert code_of(caught) == ErrorCode.INVALID_PARTITIONS
    topics.create("a", 1)
    with pytest.raises(KafkaError) as caught:
        topics.add_partitions("a", count, validate_only=False)
    assert code_of(caught) == ErrorCode.INVALID_PARTITIONS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention.bytes", "many"),
        ("max.message.bytes", "-1"),
        ("cleanup.policy", "compact"),
        ("message.timestamp.type", "LogAppendTime"),
        ("no.such.setting", "1"),
    ],
)
def test_settings_that_cannot_be_kept_are_refused(name: str, value: str) -> None:
    """Anyone who relies on one hears of it here, not from what goes wrong later."""
    with pytest.raises(KafkaError) as caught:
        open_topics().create("a", 1, {name: value})
    assert code_of(caught) == ErrorCode.INVALID_CONFIG
    assert name in str(caught.value)


def test_partitions_can_be_added_and_only_added() -> None:
    """More partitions come behind those that are there."""
    topics = open_topics()
    topic = topics.create("a", 2)
    kept = list(topic.partitions)

    topics.add_partitions("a", 3, validate_only=True)
    assert len(topic.partitions) == 2
    topics.add_partitions("a", 3, validate_only=False)

    assert topic.partitions[:2] == kept
    assert [partition.index for partition in topic.partitions] == [0, 1, 2]
    with pytest.raises(KafkaError) as caught:
        topics.add_partitions("a", 3, validate_only=False)
    assert code_of(caught) == ErrorCode.INVALID_PARTITIONS
