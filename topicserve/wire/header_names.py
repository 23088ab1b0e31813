"""The names of the wire format's headers, and those of their values that are fixed.

The one place that spells them; docs/wire_format.md says what each means. `headers.py` reads them.
"""

ID = "ce_id"
SPECVERSION = "ce_specversion"
SOURCE = "ce_source"
TYPE = "ce_type"
TIME = "ce_time"
SERVABLE = "ce_servable"
SERVABLE_VERSION = "ce_servableversion"
SERVABLE_LABEL = "ce_servablelabel"
SIGNATURE = "ce_signature"
EXPIRY_TIME = "ce_expirytime"
"""CloudEvents' own name of a deadline."""
DEADLINE = "ce_deadline"
"""Means the same."""
METADATA = "ce_metadata"
"""`absent`: the producer declares that this record has no metadata."""
CONTENT_TYPE = "content-type"
DATAREF = "ce_dataref"
"""CloudEvents' claim check: the URL at which the body lies, where the record has no value."""
DATAREF_HASH = "ce_datarefhash"
"""What that body must hash to: `sha256:` and 64 hexadecimal digits. CloudEvents has no name."""
TRACE = ("traceparent", "tracestate")
REQUEST = "topicserve-request"
"""Which call of a client a record is of: a record id may be that of several, one after another."""
CARRIED_BACK = (*TRACE, REQUEST)
"""Stand on the result as they came with the record."""
METADATA_STATUS = "topicserve-metadata-status"
METADATA_JSON = "topicserve-metadata"
WORKER = "topicserve-worker"
"""Protobuf results alone; JSON has the member "worker"."""
REPLAY_INPUT = "topicserve-replay-input"
"""Which record a result of `topicserve replay` answers: TOPIC:PARTITION:OFFSET."""
REPLAY_GROUP = "topicserve-replay-group"
"""The group of the replay that a result is of."""

SPECVERSION_VALUE = "1.0"
INPUT_TYPE = "topicserve.input"
RESULT_TYPE = "topicserve.result"
SHADOW_TYPE = "topicserve.shadow"
JSON_CONTENT_TYPE = "application/json"
PROTOBUF_CONTENT_TYPE = "application/x-protobuf"
METADATA_ABSENT = "absent"

MAX_VERSION = 2**63 - 1
"""The highest number in `ce_servableversion`, as in TensorFlow Serving."""
