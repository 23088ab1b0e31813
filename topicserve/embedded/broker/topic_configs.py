"""Topic settings: those that mean something here, those with one value, those without effect.

A setting that the broker would have to act on and cannot (such as compaction) is refused, so that a
test does not pass for the wrong reason.
"""

from collections.abc import Mapping

from topicserve.embedded.broker.config import BrokerConfig
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError

RETENTION_BYTES = "retention.bytes"
MAX_MESSAGE_BYTES = "max.message.bytes"
SEGMENT_BYTES = "segment.bytes"

_INTEGERS = {RETENTION_BYTES: -1, MAX_MESSAGE_BYTES: 0, SEGMENT_BYTES: 1}
"""Their lowest values."""
_FIXED = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "message.timestamp.type": "CreateTime",
    "retention.ms": "-1",
}
# Taken and kept for who asks, though nothing here depends on them: tools and tests set them often.
_WITHOUT_EFFECT = {
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "max.compaction.lag.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "retention.ms",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
}


def check_topic_configs(configs: Mapping[str, str | None]) -> None:
    """Raise KafkaError INVALID_CONFIG for a setting that is unknown or cannot be kept."""
    for name, value in configs.items():
        if name in _INTEGERS:
            _check_integer(name, value)
        elif name not in _WITHOUT_EFFECT and value != _FIXED.get(name, object()):
            raise KafkaError(
                ErrorCode.INVALID_CONFIG, f"the embedded broker cannot set {name} to {value}"
            )


def effective_configs(config: BrokerConfig, configs: Mapping[str, str | None]) -> dict[str, str]:
    """Return every setting of a topic with its value."""
    defaults = _FIXED | {
        RETENTION_BYTES: "-1",
        MAX_MESSAGE_BYTES: str(config.message_max_bytes),
        SEGMENT_BYTES: str(config.segment_bytes),
    }
    return defaults | {name: value for name, value in configs.items() if value is not None}


def _check_integer(name: str, value: str | None) -> None:
    try:
        if value is not None and int(value) >= _INTEGERS[name]:
            return
    except ValueError:
        pass
    raise KafkaError(ErrorCode.INVALID_CONFIG, f"{name} must be a whole number, found {value}")
