from topicserve.redact import REDACTED
from topicserve.worker.config.schema import (
    KafkaConfig,
    MetadataConfig,
    TopicsConfig,
    WorkerConfig,
)
from topicserve.worker.config.served import CanaryConfig, ServedConfig
from topicserve.worker.config.shown import shown_configuration

SECRET = "s3cret"


def test_each_key_is_shown_with_its_value() -> None:
    """As it is written in the file: tables by dots, servables by name."""
    served = ServedConfig(
        *("digits", "/models/digits"),
        version_labels={"stable": 3},
        options={"session_threads": 1},
        canary=CanaryConfig(0.1, version=4),
    )
    shown = shown_configuration(WorkerConfig(TopicsConfig(("a", "b"), "out"), (served,)))

    assert shown["topics.input"] == "a, b"
    assert shown["kafka.client"] == "kafka-python"
    assert shown["batching.max_batch_size"] == "1024"
    assert shown["kafka.group_instance_id"] == ""
    assert shown["servables.digits.base_path"] == "/models/digits"
    assert shown["servables.digits.version_labels.stable"] == "3"
    assert shown["servables.digits.canary.share"] == "0.1"
    assert shown["servables.digits.options.session_threads"] == "1"


def test_no_secret_is_shown() -> None:
    """Neither a password in a URL, nor any text that a Kafka setting may keep secret."""
    hidden: dict[str, str | int | float] = {
        "sasl.password": SECRET,
        "ssl.keystore.password": SECRET,
        "sasl.jaas.config": f'password="{SECRET}"',
        "sasl.oauthbearer.client.secret": SECRET,
        "ssl_password": SECRET,
        "a.setting.of.tomorrow": SECRET,
    }
    plain: dict[str, str | int | float] = {
        "session.timeout.ms": 45_000,
        "security.protocol": "SASL_SSL",
    }
    kafka = KafkaConfig(
        settings={**hidden, **plain}, consumer_settings=hidden, producer_settings=hidden
    )
    metadata = MetadataConfig(
        f"rediss://user:{SECRET}@store:6380/1?password={SECRET}",
        key_prefix=f"redis://:{SECRET}@store/?password={SECRET}:",
    )
    own = {"password": SECRET, "threads": 4}
    remote = {
        "target": f"user:{SECRET}@serving:8500",
        "channel_options": {"grpc.http_proxy": f"http://u:{SECRET}@proxy:3128"},
    }
    served = ServedConfig("digits", "/models", kind="company.module:make_adapter", options=own)
    signed = f"s3://key:{SECRET}@bucket/a?X-Amz-Signature={SECRET}"
    other = ServedConfig("remote", signed, kind="tf_serving", options=remote)

    shown = shown_configuration(
        WorkerConfig(TopicsConfig(("in",), "out"), (served, other), kafka=kafka, metadata=metadata)
    )

    assert SECRET not in str(shown)
    assert shown["kafka.settings.sasl.password"] == REDACTED
    assert shown["servables.digits.options.password"] == REDACTED
    assert shown["servables.digits.options.threads"] == "4"
    assert shown["kafka.settings.session.timeout.ms"] == "45000"
    assert shown["kafka.settings.security.protocol"] == "SASL_SSL"
    assert shown["servables.remote.base_path"] == f"s3://{REDACTED}@bucket/a?{REDACTED}"
    assert shown["servables.remote.options.target"] == f"{REDACTED}@serving:8500"
    assert shown["metadata.redis_url"] == "rediss://store:6380/1"
