"""What stands around a body that is not ours: whatever it does is its record's fault alone."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace
from numpy.typing import NDArray

from topicserve.errors import error_text
from topicserve.wire import header_names as names
from topicserve.wire.bodies.asked import Unasked
from topicserve.wire.bodies.content_types import is_content_type
from topicserve.wire.bodies.custom_content import CheckedContent, checked_asked, checked_content
from topicserve.wire.bodies.interface import Body, BodyAnswer, BodyContent, RoutingBody
from topicserve.wire.bodies.options import BodyError
from topicserve.wire.bodies.registry import CodecOf
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import InputHeaders, read_id
from topicserve.wire.input_record import InputReader, InputRecord
from topicserve.wire.json_codec.body import Form
from topicserve.wire.record_id import WANTED
from topicserve.wire.result import Metadata
from topicserve.wire.result_encoder import Origin

T = TypeVar("T")
# What the columns of a value are taken for while nothing is known of them.
_COLUMNS_TIMES = 4


def custom_body(name: str, body: Any) -> tuple[Sequence[str], CodecOf, bool]:
    """Return a body's content types, what reads them, and whether it is asked what they want.

    BodyError for what is no body.
    """
    problem = "has no methods `read` and `write`"
    try:
        content_types = tuple(body.content_types)
        if not content_types or not all(map(is_content_type, content_types)):
            problem = "has no `content_types` in lower case and without parameters"
        elif callable(body.read) and callable(body.write):
            is_asked = isinstance(body, RoutingBody)
            return content_types, lambda *asked: CustomCodec(name, body, *asked), is_asked
    # A user's own class may raise anything here.
    except BaseException as error:
        problem = f"cannot be used: {error_text(error)}"
    raise BodyError(f"the body {name!r} {problem}")


class CustomCodec:
    """Reads records with a user's own body, when their batch is built."""

    def __init__(
        self, name: str, body: Body, content_type: str, parameters: Mapping[str, str]
    ) -> None:
        self._name = name
        self._body = body
        self._asks = body.asks if isinstance(body, RoutingBody) else None
        self.content_type = content_type
        self._parameters = parameters

    def decode(
        self, headers: InputHeaders, value: bytes | None, reader: InputReader
    ) -> InputRecord:
        """Return the value as it is, with what the body says beside its content."""
        record_id, envelope, deadline, trace, size = headers
        if value is None:
            raise InvalidRecordError("value", f"is null; {self.content_type} was expected")
        target = envelope.target
        if self._asks is not None:
            target = Unasked(
                *(target.servable, target.version, target.label, target.signature_name),
                ask=self._ask,
            )
        found = InputRecord(
            record_id or "",
            target,
            Form.CUSTOM,
            value,
            1,
            self,
            deadline,
            envelope.metadata_absent,
            trace,
            held_bytes=size + _COLUMNS_TIMES * len(value),
            limits=reader.limits,
        )
        if self._asks is None:
            return _with_id(found)
        return found if reader.defers_asking else self._ask(found)

    def _ask(self, record: InputRecord) -> InputRecord:
        """Return a record with what its body says beside its content."""
        assert self._asks is not None
        answer = self._guarded(self._asks, record.content, dict(self._parameters))
        asked = checked_asked(answer, self._name, record.limits)
        held_bytes = record.held_bytes
        if asked.held_bytes:
            held_bytes += asked.held_bytes - _COLUMNS_TIMES * len(record.content)
        named = None if asked.record_id is None else asked.record_id.encode()
        return _with_id(
            replace(
                record,
                record_id=record.record_id or read_id(named) or "",
                target=asked.target(record.target),
                rows=asked.rows,
                output_filter=asked.output_filter,
                held_bytes=held_bytes,
            )
        )

    def payload(self, record: InputRecord) -> CheckedContent:
        """Return what the body reads in the value, checked."""
        content = self._guarded(self._body.read, record.content, dict(self._parameters))
        if not isinstance(content, BodyContent):
            found = type(content).__name__
            raise InvalidRecordError(
                "value", f"the body {self._name!r} returned {found}, not a BodyContent"
            )
        return self._guarded(checked_content, content, len(record.content), record.limits)

    def _guarded(self, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return call(*arguments)
        except InvalidRecordError:
            raise
        # Anything else too, SystemExit included: it is this record's fault, and ends no worker.
        except BaseException as error:
            raise InvalidRecordError(
                "value", f"the body {self._name!r} cannot read it: {error_text(error)}"
            ) from None

    def writer(
        self, origin: Origin, outputs: Mapping[str, NDArray[Any]], whole: Collection[str]
    ) -> "CustomWriter":
        """Return what writes results with the body."""
        return CustomWriter(self._name, self._body, self.content_type, origin, outputs, whole)


class CustomWriter:
    """Writes the results of the records of one call with a user's own body."""

    def __init__(
        self,
        name: str,
        body: Body,
        content_type: str,
        origin: Origin,
        outputs: Mapping[str, NDArray[Any]],
        whole: Collection[str],
    ) -> None:
        self._name = name
        self._body = body
        self.content_type = content_type
        self._origin = origin
        self._outputs = outputs
        self._whole = frozenset(whole)

    def write(self, record: InputRecord, start: int, count: int, found: Metadata) -> bytes:
        """Return what the body writes; BodyError for anything else that it does."""
        wanted = record.output_filter
        outputs = {
            name: _read_only(column if name in self._whole else column[start : start + count])
            for name, column in self._outputs.items()
            if not wanted or name in wanted
        }
        answer = BodyAnswer(
            record_id=record.record_id,
            servable=self._origin.servable,
            version=self._origin.version,
            signature_name=self._origin.signature_name,
            outputs=outputs,
            rows=count,
            whole=self._whole.intersection(outputs),
            metadata=found.content,
            metadata_status=found.status,
            worker_id=self._origin.worker_id,
            request=record.content,
        )
        try:
            value: object = self._body.write(answer)
        # SystemExit included: it is this record's fault, and ends no worker.
        except BaseException as error:
            raise BodyError(
                f"the body {self._name!r} cannot write the result: {error_text(error)}"
            ) from None
        if not isinstance(value, bytes):
            found_type = type(value).__name__
            raise BodyError(f"the body {self._name!r} wrote {found_type}, not bytes")
        return value


def _with_id(record: InputRecord) -> InputRecord:
    if not record.record_id:
        raise InvalidRecordError(names.ID, f"is missing; it must be {WANTED}")
    return record


def _read_only(column: NDArray[Any]) -> NDArray[Any]:
    """Return a view that a body cannot change: other records' results are in it too."""
    view = column.view()
    view.flags.writeable = False
    return view
