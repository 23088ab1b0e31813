"""The bodies there are, by name and by content type. New ones come from outside, as entry points.

Those that are shipped read records in every worker, and each is imported with the first record of
its content types. Entry points of the group `topicserve.bodies` are looked up for the others, which
a worker's configuration names.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from topicserve.entry_point_names import known_names, load_named
from topicserve.errors import error_text
from topicserve.wire import header_names as names
from topicserve.wire.bodies.codec import BodyCodec
from topicserve.wire.bodies.content_types import names_one_type, read_content_type, wildcard_of
from topicserve.wire.bodies.options import BodyError
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.limits import shortened

ENTRY_POINT_GROUP = "topicserve.bodies"


class _Shipped(NamedTuple):
    target: str
    content_types: tuple[str, ...]


# With their content types, so that none is imported before there is a record for it.
SHIPPED: Mapping[str, _Shipped] = {
    "json": _Shipped("topicserve.wire.bodies.json_body:make_body", (names.JSON_CONTENT_TYPE,)),
    "predict_request": _Shipped(
        "topicserve.wire.bodies.predict_request:make_body", (names.PROTOBUF_CONTENT_TYPE,)
    ),
    "raw": _Shipped(
        "topicserve.wire.bodies.raw:make_body",
        ("image/*", "audio/*", "application/octet-stream"),
    ),
    "open_inference_json": _Shipped(
        "topicserve.wire.bodies.open_inference.json_body:make_body", (names.OPEN_INFERENCE_JSON,)
    ),
    "open_inference_protobuf": _Shipped(
        "topicserve.wire.bodies.open_inference.protobuf_body:make_body",
        (names.OPEN_INFERENCE_PROTOBUF,),
    ),
    "text": _Shipped("topicserve.wire.bodies.text:make_body", ("text/plain",)),
}

_TARGETS = {name: body.target for name, body in SHIPPED.items()}

BodyFactory: TypeAlias = Callable[[Mapping[str, object]], Any]
"""Makes a `Body` of its table of options.

Raises BodyError naming the option that it does not know or cannot take.
"""
CodecOf: TypeAlias = Callable[[str, Mapping[str, str]], BodyCodec]
"""Returns what reads records of a content type with these parameters.

Raises InvalidRecordError for parameters that it cannot take.
"""


class NamedBody(NamedTuple):
    """A body that was loaded."""

    content_types: Sequence[str]
    codec_of: CodecOf
    asks: bool = False
    """Whether its values say more than rows: a method of a user's own must be called for that."""


def known_bodies() -> list[str]:
    """Return the names of all bodies: those shipped and those installed."""
    return known_names(ENTRY_POINT_GROUP, _TARGETS)


def load_body(name: str, options: Mapping[str, object]) -> NamedBody:
    """Return a body; BodyError where there is none, it does not import, or an option is wrong."""
    try:
        factory: BodyFactory = load_named(ENTRY_POINT_GROUP, name, _TARGETS, "body")
    except ValueError as error:
        raise BodyError(str(error)) from error
    try:
        made = factory(options)
    except BodyError:
        raise
    # A user's own factory may raise anything.
    except BaseException as error:
        raise BodyError(f"the body {name!r} cannot be made: {error_text(error)}") from error
    if name in SHIPPED:
        return NamedBody(SHIPPED[name].content_types, made)
    # Here, so that who has no such body loads nothing for it.
    from topicserve.wire.bodies.custom import custom_body

    return NamedBody(*custom_body(name, made))


class Bodies:
    """The bodies of one worker by content type: those shipped, and those of its configuration.

    Any thread may call it.
    """

    def __init__(self, configured: Mapping[str, NamedBody] | None = None) -> None:
        """Have what is configured read its content types; BodyError where two read the same."""
        self._codecs: dict[str, CodecOf] = {}
        self._shipped = {one: name for name, body in SHIPPED.items() for one in body.content_types}
        self.asks = any(body.asks for body in (configured or {}).values())
        """Whether any of them is asked what its records want."""
        claimed: dict[str, str] = {}
        for name, body in (configured or {}).items():
            for content_type in body.content_types:
                if content_type in claimed:
                    other = claimed[content_type]
                    raise BodyError(f"the bodies {other!r} and {name!r} both read {content_type}")
                claimed[content_type] = name
                self._codecs[content_type] = body.codec_of

    def find(self, header: str | None) -> BodyCodec:
        """Return what reads records with this `content-type`, or raise InvalidRecordError."""
        content_type, parameters = read_content_type(header or "")
        is_one = names_one_type(content_type)
        for wanted in (content_type, wildcard_of(content_type)) if is_one else ():
            codec_of = self._codecs.get(wanted)
            if codec_of is None and wanted in self._shipped:
                codec_of = load_body(self._shipped[wanted], {}).codec_of
                self._codecs[wanted] = codec_of
            if codec_of is not None:
                return codec_of(content_type, parameters)
        known = ", ".join(sorted({*self._codecs, *self._shipped}))
        found = None if header is None else shortened(content_type)
        raise InvalidRecordError(names.CONTENT_TYPE, f"must be one of {known}; found {found!r}")


SHIPPED_BODIES = Bodies()
"""Those that every worker has: to look each of them up takes milliseconds, once in a process."""
