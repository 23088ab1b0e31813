from pathlib import Path

from topicserve.demo.deployment import DemoTopics, Servers, worker_config
from topicserve.demo.releases import Releases
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import Client

SERVERS = Servers(
    "kafka:9092", 'redis://:a"b@redis/0', "confluent", {"security.protocol": "PLAINTEXT"}
)


def test_a_worker_is_told_where_everything_is(tmp_path: Path) -> None:
    """The file that the demo writes is read as a worker reads it, with any text in it."""
    topics = DemoTopics()
    path = tmp_path / "worker.toml"
    path.write_text(worker_config(SERVERS, topics, Releases(tmp_path).servables()))

    config = load_config(path, {}, {})

    assert config.kafka.bootstrap_servers == "kafka:9092"
    assert config.kafka.client is Client.CONFLUENT
    assert config.kafka.settings == {"security.protocol": "PLAINTEXT"}
    assert config.kafka.consumer_settings["session.timeout.ms"] == 6000
    assert config.metadata.redis_url == SERVERS.redis_url
    assert (config.topics.input, config.topics.output) == ((topics.input,), topics.output)
    assert config.dead_letter_topic == topics.dead_letter
    assert config.default_servable == ""
    assert [served.servable.name for served in config.servables] == [
        "digits",
        "digit_network",
        "digit_names",
    ]


def test_no_two_runs_share_a_topic_or_a_group() -> None:
    """A demo on a cluster that others use disturbs no one, and none before it."""
    first, second = DemoTopics(), DemoTopics()

    assert not set(first.all()) & set(second.all())
    assert first.run != second.run
    assert all(topic.startswith(first.run) for topic in first.all())
