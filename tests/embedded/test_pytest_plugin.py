"""The plugin as a user's project has it: in a pytest run of its own."""

import subprocess
import sys
from pathlib import Path

_USERS_TEST = """
import redis
from confluent_kafka import Consumer, Producer

def test_round_trip(topicserve_stack):
    producer = Producer({"bootstrap.servers": topicserve_stack.bootstrap_servers})
    producer.produce("topic", b"value")
    assert producer.flush(10) == 0
    consumer = Consumer({
        "bootstrap.servers": topicserve_stack.bootstrap_servers,
        "group.id": "group",
        "auto.offset.reset": "earliest",
    })
    consumer.subscribe(["topic"])
    assert consumer.poll(10).value() == b"value"
    consumer.close()

def test_one_of_the_two(topicserve_kafka, topicserve_redis, topicserve_stack):
    assert topicserve_kafka.bootstrap_servers == topicserve_stack.bootstrap_servers
    assert redis.Redis.from_url(topicserve_redis.redis_url).ping()
"""


def test_fixtures_serve_a_users_own_tests(tmp_path: Path) -> None:
    """Both servers are there for a test that asks for them: pytest finds the fixtures by itself."""
    (tmp_path / "test_users.py").write_text(_USERS_TEST)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert "2 passed" in done.stdout, done.stdout + done.stderr
