"""Raw bytes: the value of the record is the string that the signature takes.

Images, audio and anything else that a model decodes itself: no base64, and no JSON around it.
"""

from collections.abc import Mapping

from topicserve.wire import header_names as names
from topicserve.wire.bodies.codec import AnsweredInJson
from topicserve.wire.bodies.options import need_no_options
from topicserve.wire.bodies.registry import CodecOf
from topicserve.wire.bodies.value_rows import RAW_ROWS, ValueRows
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import InputHeaders
from topicserve.wire.input_record import InputReader, InputRecord
from topicserve.wire.json_codec.body import Form
from topicserve.wire.record_id import WANTED

_ROW = Form.ROW  # looked at once a record: a global costs less than a member


class ValueCodec(AnsweredInJson):
    """Reads records whose value is one row. They are answered as a lone row of JSON is."""

    def __init__(self, content_type: str, rows: ValueRows) -> None:
        self.content_type = content_type
        self._rows = rows

    def decode(
        self, headers: InputHeaders, value: bytes | None, reader: InputReader
    ) -> InputRecord:
        """Return the value as it is; an empty one is a row like any other."""
        record_id, envelope, deadline, trace, size = headers
        if record_id is None:
            raise InvalidRecordError(names.ID, f"is missing; it must be {WANTED}")
        if value is None:
            raise InvalidRecordError("value", f"is null; {self.content_type} was expected")
        return InputRecord(
            record_id,
            envelope.target,
            _ROW,
            value,
            1,
            self,
            deadline,
            envelope.metadata_absent,
            trace,
            (),
            size,
            reader.limits,
            self._rows,
        )

    def payload(self, record: InputRecord) -> bytes:
        """Return the string that is fed."""
        return self._rows.row_of(record.content)


def make_body(options: Mapping[str, object]) -> CodecOf:
    """Return what reads raw bytes; there are no options."""
    need_no_options(options, "raw")
    return lambda content_type, _: ValueCodec(content_type, RAW_ROWS)
