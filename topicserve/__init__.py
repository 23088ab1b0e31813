"""TensorFlow Serving's servable lifecycle, fed by Kafka topics.

What a program needs to publish records and read their results stands here, flat. Each name is
imported when it is first used: `import topicserve` alone loads neither a client nor TensorFlow.
"""

from importlib import import_module

TYPE_CHECKING = False  # typing's, without the import: a worker obeys SIGTERM that much sooner

if TYPE_CHECKING:
    from topicserve.backends.errors import (
        AuthenticationError,
        BackendConfigError,
        BackendError,
        BackendUnavailableError,
        BacklogFullError,
        CommitRefusedError,
        DeliveryTimeoutError,
        ForkedError,
        RecordTooLargeError,
        UnknownTopicError,
    )
    from topicserve.backends.references.body_reader import BodyReader
    from topicserve.errors import TopicserveError
    from topicserve.producer.asynchronous.readers import AsyncDeadLetterReader, AsyncResultReader
    from topicserve.producer.asynchronous.record_producer import (
        AsyncPublishFuture,
        AsyncRecordProducer,
    )
    from topicserve.producer.client.async_predict_client import AsyncPredictClient
    from topicserve.producer.client.predict_client import PredictClient
    from topicserve.producer.errors import DeadLetterError, PredictTimeoutError, PublishError
    from topicserve.producer.publish_future import PublishFuture
    from topicserve.producer.record import STORED_ELSEWHERE, Record
    from topicserve.producer.record_producer import RecordProducer
    from topicserve.producer.result_reader import DeadLetterReader, ResultReader
    from topicserve.wire.dead_letter import DeadLetter, Reason
    from topicserve.wire.errors import InvalidRecordError
    from topicserve.wire.kafka_record import Place
    from topicserve.wire.result import MetadataStatus, Result

__all__ = [
    "STORED_ELSEWHERE",
    "AsyncDeadLetterReader",
    "AsyncPredictClient",
    "AsyncPublishFuture",
    "AsyncRecordProducer",
    "AsyncResultReader",
    "AuthenticationError",
    "BackendConfigError",
    "BackendError",
    "BackendUnavailableError",
    "BacklogFullError",
    "BodyReader",
    "CommitRefusedError",
    "DeadLetter",
    "DeadLetterError",
    "DeadLetterReader",
    "DeliveryTimeoutError",
    "ForkedError",
    "InvalidRecordError",
    "MetadataStatus",
    "Place",
    "PredictClient",
    "PredictTimeoutError",
    "PublishError",
    "PublishFuture",
    "Reason",
    "Record",
    "RecordProducer",
    "RecordTooLargeError",
    "Result",
    "ResultReader",
    "TopicserveError",
    "UnknownTopicError",
]

_HOMES = {
    "topicserve.backends.errors": [
        "AuthenticationError",
        "BackendConfigError",
        "BackendError",
        "BackendUnavailableError",
        "BacklogFullError",
        "CommitRefusedError",
        "DeliveryTimeoutError",
        "ForkedError",
        "RecordTooLargeError",
        "UnknownTopicError",
    ],
    "topicserve.backends.references.body_reader": ["BodyReader"],
    "topicserve.errors": ["TopicserveError"],
    "topicserve.producer.asynchronous.readers": ["AsyncDeadLetterReader", "AsyncResultReader"],
    "topicserve.producer.asynchronous.record_producer": [
        "AsyncPublishFuture",
        "AsyncRecordProducer",
    ],
    "topicserve.producer.client.async_predict_client": ["AsyncPredictClient"],
    "topicserve.producer.client.predict_client": ["PredictClient"],
    "topicserve.producer.errors": ["DeadLetterError", "PredictTimeoutError", "PublishError"],
    "topicserve.producer.publish_future": ["PublishFuture"],
    "topicserve.producer.record": ["STORED_ELSEWHERE", "Record"],
    "topicserve.producer.record_producer": ["RecordProducer"],
    "topicserve.producer.result_reader": ["DeadLetterReader", "ResultReader"],
    "topicserve.wire.dead_letter": ["DeadLetter", "Reason"],
    "topicserve.wire.errors": ["InvalidRecordError"],
    "topicserve.wire.kafka_record": ["Place"],
    "topicserve.wire.result": ["MetadataStatus", "Result"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
