"""What a body is to the worker: records in, and results in the form that they came in.

The contract of JSON, of TensorFlow Serving's protobuf, of raw bytes, and of what stands around a
body that is not ours (`custom.py`).
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    from topicserve.wire.headers import InputHeaders
    from topicserve.wire.input_record import InputReader, InputRecord
    from topicserve.wire.result import Metadata
    from topicserve.wire.result_encoder import Origin


class ResultWriter(Protocol):
    """Writes the results of the records of one call. One thread uses it."""

    content_type: str
    """The header of these results."""

    def write(self, record: "InputRecord", start: int, count: int, found: "Metadata") -> bytes:
        """Return the value of a record's result: so many rows of the outputs, from `start` on.

        Whatever it raises makes a dead letter of this record alone.
        """


class BodyCodec(Protocol):
    """Reads the records of one content type. Any thread may call it."""

    content_type: str
    """In lower case and without parameters, for messages."""

    def decode(
        self, headers: "InputHeaders", value: bytes | None, reader: "InputReader"
    ) -> "InputRecord":
        """Return what a record asks for, or raise InvalidRecordError with the field at fault.

        On the thread that polls: it waits for nothing, and does no more than routing and counting
        need.
        """

    def payload(self, record: "InputRecord") -> Any:
        """Return the content of one of its records decoded, or raise InvalidRecordError.

        On a batch thread, each time that the record is predicted.
        """

    def writer(
        self, origin: "Origin", outputs: Mapping[str, NDArray[Any]], whole: Collection[str], /
    ) -> ResultWriter | None:
        """Return what writes results; None where these are JSON, as for all but WHOLE_FORMS.

        JSON is written for a whole batch at once (`encode_results`). `outputs` has the rows of all
        records of the call; those that are `whole` have no rows.
        """


class AnsweredInJson:
    """A codec whose records are answered in JSON."""

    def writer(self, *_: object) -> None:
        """Return None: results are JSON."""
        return
