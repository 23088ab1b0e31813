"""What a broker answers, by Kafka's own error codes, in the port's words.

The codes are the protocol's, the same whatever client carries them; each adapter adds what its
client itself finds wrong.
"""

from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendError,
    BackendUnavailableError,
    CommitRefusedError,
    DeliveryTimeoutError,
    FencedError,
    RecordRefusedError,
    RecordTooLargeError,
    TransactionAbortedError,
    UnknownTopicError,
)

_CLASSES: dict[type[BackendError], tuple[int, ...]] = {
    # TOPIC_, GROUP_, CLUSTER_, TRANSACTIONAL_ID_, DELEGATION_TOKEN_AUTHORIZATION_FAILED;
    # UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE, SASL_AUTHENTICATION_FAILED, SECURITY_DISABLED;
    # what is wrong with delegation tokens, principals and credentials.
    AuthenticationError: (29, 30, 31, 53, 65, 33, 34, 58, 54, 61, 62, 63, 64, 66, 67, 93),
    # UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_TOPIC_EXCEPTION
    UnknownTopicError: (3, 100, 17),
    # MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE
    RecordTooLargeError: (10, 18),
    # INVALID_RECORD, INVALID_TIMESTAMP
    RecordRefusedError: (87, 32),
    # ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, FENCED_MEMBER_EPOCH,
    # STALE_MEMBER_EPOCH
    CommitRefusedError: (22, 25, 27, 110, 113),
    # FENCED_INSTANCE_ID, PRODUCER_FENCED, INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED,
    # UNRELEASED_INSTANCE_ID
    FencedError: (82, 90, 47, 52, 111),
    # TRANSACTION_ABORTABLE, INVALID_TXN_STATE, INVALID_PRODUCER_ID_MAPPING
    TransactionAbortedError: (120, 48, 49),
    # REQUEST_TIMED_OUT
    DeliveryTimeoutError: (7,),
    # INVALID_REQUIRED_ACKS, INCONSISTENT_GROUP_PROTOCOL, INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT,
    # OFFSET_METADATA_TOO_LARGE, INVALID_COMMIT_OFFSET_SIZE, UNSUPPORTED_VERSION,
    # INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR, INVALID_REPLICA_ASSIGNMENT, INVALID_CONFIG,
    # INVALID_REQUEST, UNSUPPORTED_FOR_MESSAGE_FORMAT, POLICY_VIOLATION,
    # INVALID_TRANSACTION_TIMEOUT, GROUP_MAX_SIZE_REACHED, UNSUPPORTED_COMPRESSION_TYPE,
    # TOPIC_ALREADY_EXISTS, UNSUPPORTED_ASSIGNOR, OFFSET_OUT_OF_RANGE (only where
    # auto.offset.reset says that it shall not be reset), INVALID_REGULAR_EXPRESSION
    BackendConfigError: (
        *(21, 23, 24, 26, 12, 28, 35, 37, 38, 39, 40, 42, 43, 44, 50, 81, 76, 36, 112, 1, 128),
    ),
    # What passes: leaders move (5, 6, 8, 9, 74, 75, 80, 83), coordinators load or move (14, 15,
    # 16), replicas catch up (19, 20, 78), disks and networks fail (2, 13, 56), an idempotent
    # producer begins its sequence again (45, 46, 59), transactions end (51, 88), topics, fetch
    # sessions and members are made (70, 71, 79, 103, 106), clients are slowed down or told to look
    # for brokers again (89, 129), a message of a broker's was damaged (4).
    BackendUnavailableError: (
        *(2, 4, 5, 6, 8, 9, 13, 14, 15, 16, 19, 20, 45, 46, 51, 56, 59, 70, 71, 74, 75, 78, 79, 80),
        *(83, 88, 89, 103, 106, 129),
    ),
}
NOT_ASKED_FOR = frozenset(
    {0}  # no error
    # Told to controllers, brokers and their administrators: elections, reassignments, log
    # directories, listeners, features, voters, registrations, snapshots.
    | {11, 41, 55, 57, 60, 72, 73, 77, 84, 85, 91, 92, 94, 95, 96, 97, 98, 99, 101, 102, 104}
    | {107, 108, 109, 114, 115, 116, 119, 125, 126, 127}
    # To those who delete groups or describe transactions.
    | {68, 69, 86, 105}
    # Client telemetry, share groups, Kafka Streams.
    | {117, 118, 121, 122, 123, 124, 130, 131, 132, 133}
)
"""Codes that answer nothing that is asked here; they are taken for passing, as unknown ones are."""
CLASSIFIED = {code: kind for kind, codes in _CLASSES.items() for code in codes}


def class_of_code(code: int) -> type[BackendError]:
    """Return the port's class for a broker's error code.

    A code that is not in the table is for trying again: a newer broker's, or of no question that is
    asked here.
    """
    return CLASSIFIED.get(code, BackendUnavailableError)
