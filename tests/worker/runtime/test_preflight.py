import threading
from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from tests.support.stages.logged import Logged
from topicserve.backends.errors import (
    AuthenticationError,
    BackendBusyError,
    BackendError,
    BackendUnavailableError,
)
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.config.schema import (
    ConfigError,
    MetadataConfig,
    TopicsConfig,
    WorkerConfig,
)
from topicserve.worker.config.served import ServedConfig
from topicserve.worker.runtime.preflight import Preflight, StoppedError

CONFIG = WorkerConfig(
    TopicsConfig(("in",), "out"),
    (ServedConfig("m", "/m"),),
    metadata=MetadataConfig(redis_url="redis://user:secret@redis:6379/0"),
)


class ManualStop(threading.Event):
    """A stop signal and a clock in one: waiting for it lets time pass."""

    seconds = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds += timeout
        return self.is_set()

    def clock(self) -> float:
        return self.seconds


class FakeBackend:
    """A broker's admin side and a store, which may fail the first times that they are asked."""

    def __init__(
        self, topics: Mapping[str, int] | None = None, errors: Sequence[BackendError] = ()
    ) -> None:
        self.topics = dict(topics or {})
        self.configs: dict[str, dict[str, str]] = {}
        self.limit: str | BackendError | None = None
        self._errors = list(errors)
        self.asked = 0

    def ping(self) -> None:
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)

    def partitions(self, topic: str, timeout_seconds: float) -> int | None:
        assert 0 < timeout_seconds <= 5
        self.ping()
        return self.topics.get(topic)

    def create_topic(
        self,
        topic: str,
        partitions: int,
        timeout_seconds: float,
        config: Mapping[str, str] | None = None,
    ) -> bool:
        assert timeout_seconds > 0
        self.topics[topic] = partitions
        self.configs[topic] = dict(config or {})
        return True

    def topic_config(self, topic: str, name: str, timeout_seconds: float) -> str | None:
        assert (topic, name) == ("in", "max.message.bytes")
        assert timeout_seconds > 0
        if isinstance(self.limit, BackendError):
            raise self.limit
        return self.limit

    def delete_topic(self, topic: str, timeout_seconds: float) -> bool:
        assert timeout_seconds > 0
        return self.topics.pop(topic, None) is not None

    def end_offsets(self, topic: str, timeout_seconds: float) -> dict[TopicPartition, int]:
        raise AssertionError(f"a preflight asked where {topic} ends, within {timeout_seconds} s")

    def close(self) -> None:
        pass


def preflight(config: WorkerConfig = CONFIG, stop: ManualStop | None = None) -> Preflight:
    """Return the checks of a configuration, with a clock that only waiting moves."""
    stop = stop or ManualStop()
    return Preflight(config, stop, stop.clock)


def test_topics_that_are_there_are_all_it_needs() -> None:
    """Nothing is created then."""
    broker = FakeBackend({"in": 4, "out": 2, "in.dead-letter": 1})

    preflight().check_broker(broker)

    assert broker.topics == {"in": 4, "out": 2, "in.dead-letter": 1}


@pytest.mark.parametrize(("missing", "key"), [("in", "topics.input[0]"), ("out", "topics.output")])
def test_a_missing_topic_is_named_with_the_remedy(missing: str, key: str) -> None:
    """It may be a slip, and creating it would hide that."""
    broker = FakeBackend({"in": 4, "out": 4})
    del broker.topics[missing]

    with pytest.raises(ConfigError) as caught:
        preflight().check_broker(broker)

    assert str(caught.value) == (
        f"{key}: there is no topic {missing!r} at 127.0.0.1:9092; create it, "
        "or have topics created that are missing with --create-topics PARTITIONS"
    )
    assert missing not in broker.topics


def test_a_missing_shadow_topic_is_named() -> None:
    """Where there is to be one."""
    config = replace(CONFIG, topics=replace(CONFIG.topics, shadow="differences"))

    with pytest.raises(ConfigError, match=r"^topics\.shadow: there is no topic 'differences'"):
        preflight(config).check_broker(FakeBackend({"in": 4, "out": 4}))


def test_missing_topics_are_created_where_that_was_asked_for() -> None:
    """With the number of partitions that was asked for."""
    config = replace(CONFIG, topics=replace(CONFIG.topics, create_partitions=6))
    broker = FakeBackend({"out": 1})

    preflight(config).check_broker(broker)

    assert broker.topics == {"in": 6, "out": 1, "in.dead-letter": 6}


def test_a_missing_dead_letter_topic_is_created_as_wide_as_the_input(logged: Logged) -> None:
    """The first bad record would otherwise hold up its partition."""
    broker = FakeBackend({"in": 4, "out": 4})

    preflight().check_broker(broker)

    assert broker.topics["in.dead-letter"] == 4
    assert logged("topic_created") == [{"topic": "in.dead-letter", "partitions": 4}]


def test_a_broker_that_comes_up_in_time_is_waited_for() -> None:
    """Everything is often started at once."""
    broker = FakeBackend({"in": 4, "out": 4}, [BackendUnavailableError("refused")] * 3)

    preflight().check_broker(broker)

    assert broker.topics["in.dead-letter"] == 4


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("1048588", {"max.message.bytes": str(1048588 + 16 * 1024)}),
        (None, {}),
        (AuthenticationError("no DescribeConfigs"), {}),
    ],
)
def test_a_dead_letter_topic_takes_what_the_input_topic_takes(
    limit: str | BackendError | None, expected: dict[str, str]
) -> None:
    """With room for a dead letter's own headers; the default where the broker does not tell."""
    broker = FakeBackend({"in": 4, "out": 4})
    broker.limit = limit

    preflight().check_broker(broker)

    assert broker.configs["in.dead-letter"] == expected


def test_a_broker_that_does_not_answer_in_time_is_named() -> None:
    """The bound is startup_timeout_seconds, however often it was asked in between."""
    stop = ManualStop()
    broker = FakeBackend(errors=[BackendUnavailableError("refused")] * 1000)

    with pytest.raises(ConfigError) as caught:
        preflight(stop=stop).check_broker(broker)

    assert str(caught.value) == (
        "kafka.bootstrap_servers: no broker answers at 127.0.0.1:9092 "
        "(tried for 10 s: refused); start it, or correct the address"
    )
    assert 8 < stop.seconds <= 10


def test_a_store_that_does_not_answer_is_named_without_its_password() -> None:
    """Messages end up in logs."""
    store = FakeBackend(errors=[BackendUnavailableError("refused")] * 1000)

    with pytest.raises(ConfigError) as caught:
        preflight().check_store(store.ping)

    assert str(caught.value) == (
        "metadata.redis_url: no Redis answers at redis://redis:6379/0 "
        "(tried for 10 s: refused); start it, or correct the address"
    )


def test_being_refused_is_not_waited_out() -> None:
    """Credentials do not become right by themselves."""
    backend = FakeBackend(errors=[AuthenticationError("no")] * 2)

    with pytest.raises(ConfigError, match=r"^metadata\.redis_url: redis://redis:6379/0: no"):
        preflight().check_store(backend.ping)
    with pytest.raises(
        ConfigError, match=r"^kafka\.settings: the broker refuses the connection: no"
    ):
        preflight().check_broker(backend)
    assert backend.asked == 2


def test_a_server_that_answers_is_waited_for_as_long_as_it_takes(logged: Logged) -> None:
    """A store that still loads its data after `startup_timeout_seconds` is at the right address."""
    stop = ManualStop()
    store = FakeBackend(errors=[BackendBusyError("LOADING")] * 60)

    preflight(stop=stop).check_store(store.ping)

    assert stop.seconds > CONFIG.startup_timeout_seconds
    assert store.asked == 61
    assert logged("start_waits") == [{"problem": "LOADING"}] * 60


def test_a_stop_ends_the_waiting() -> None:
    """Anyone who presses Ctrl-C need not wait for the time to run out."""
    stop = ManualStop()
    stop.set()

    with pytest.raises(StoppedError):
        preflight(stop=stop).check_store(
            FakeBackend(errors=[BackendUnavailableError("x")] * 9).ping
        )


def test_a_replay_creates_no_topic_to_read_from() -> None:
    """A name that was typed wrongly stays without a topic; those it writes to are created."""
    config = replace(CONFIG, topics=replace(CONFIG.topics, create_partitions=6))
    stop, broker = ManualStop(), FakeBackend()
    checks = Preflight(config, stop, stop.clock, creates_inputs=False)

    with pytest.raises(ConfigError, match=r"topics\.input\[0\]: there is no topic 'in'"):
        checks.check_broker(broker)

    assert broker.topics == {}
    broker.topics["in"] = 4
    checks.check_broker(broker)
    assert broker.topics == {"in": 4, "out": 6, "in.dead-letter": 6}
