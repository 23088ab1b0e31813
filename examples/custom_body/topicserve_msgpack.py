"""A body of one's own: records and results in MessagePack."""

from collections.abc import Mapping
from typing import Any

import msgspec

from topicserve import bodies as tb


class Options(tb.BodyOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand in the table [bodies.msgpack]."""

    with_metadata: bool = False


class MessagePack:
    """Reads `{"instance": row}` and `{"instances": rows}`. One object serves all threads."""

    content_types = ("application/msgpack", "application/x-msgpack")

    def __init__(self, options: Options) -> None:
        self._options = options

    def read(self, value: bytes, _: Mapping[str, str]) -> tb.BodyContent:
        """Return the rows. Whatever this raises is why the record is refused."""
        try:
            body = msgspec.msgpack.decode(value, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise tb.InvalidRecordError("value", f"is not MessagePack: {error}") from error
        return tb.BodyContent(instance=body.get("instance"), instances=body.get("instances"))

    def write(self, answer: tb.BodyAnswer) -> bytes:
        """Return a result; the record id, the version and more stand in its headers."""
        result: dict[str, Any] = {name: column.tolist() for name, column in answer.outputs.items()}
        if self._options.with_metadata and answer.metadata is not None:
            result["metadata"] = msgspec.json.decode(answer.metadata)
        return msgspec.msgpack.encode(result)


def make_body(options: Mapping[str, object]) -> tb.Body:
    """Return the body; the entry point names this."""
    return MessagePack(tb.read_body_options(Options, options, "msgpack"))
