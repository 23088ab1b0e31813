"""Frames of the Kafka protocol: a length, a header, and a message of kafka.protocol's.

What comes from outside is checked here, so handlers see requests that are whole, of a version that
the table of requests has, and without nulls where the protocol allows none.
"""

import io
import struct
from functools import cache
from types import SimpleNamespace as Struct
from typing import Any, NamedTuple

from kafka.protocol.api_header import ResponseClassRegistry
from kafka.protocol.schemas.fields.codecs import TaggedFields

from topicserve.embedded.broker.api import Response
from topicserve.embedded.broker.apis import APIS, supported_versions
from topicserve.embedded.broker.error_codes import ErrorCode
from topicserve.errors import TopicserveError

LENGTH_BYTES = 4
_HEADER = struct.Struct(">hhih")  # api key, api version, correlation id, length of the client id
_API_VERSIONS = 18
_MAX_TAG_BYTES = 1024


class BadRequestError(TopicserveError):
    """The bytes are no request that can be answered; the connection is of no more use."""


class RequestFrame(NamedTuple):
    """A request as it came; the header is read, the body not yet."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str
    body: memoryview

    @property
    def is_supported(self) -> bool:
        """Tell whether there is a handler for this kind and version."""
        api = APIS.get(self.api_key)
        return api is not None and api.min_version <= self.api_version <= api.max_version

    def decode(self) -> Any:
        """Return the body as kafka.protocol's request. Raises BadRequestError."""
        request_class = APIS[self.api_key].request_class
        try:
            body = self.body
            if request_class.flexible_version_q(self.api_version):
                body = _after_tags(body)
            request = request_class.decode(body, version=self.api_version)
        except (ValueError, IndexError, KeyError, TypeError, struct.error, AssertionError) as error:
            raise BadRequestError(f"{self}: the body cannot be read: {error}") from error
        _check_nulls(request, request_class, self.api_version)
        return request

    def __str__(self) -> str:
        return f"request {self.api_key} version {self.api_version} of client {self.client_id!r}"


def read_length(prefix: bytes | bytearray | memoryview, max_bytes: int) -> int:
    """Return how long a frame is, in bytes, without the four of the length itself.

    Raises BadRequestError where the length is below a header's, or above `max_bytes`.
    """
    length = int.from_bytes(prefix[:LENGTH_BYTES], "big", signed=True)
    if not _HEADER.size <= length <= max_bytes:
        raise BadRequestError(f"a request has {_HEADER.size} to {max_bytes} bytes, not {length}")
    return length


def read_request(frame: memoryview) -> RequestFrame:
    """Read a frame's header; the body is left for `RequestFrame.decode`.

    Raises BadRequestError where the client id is cut off.
    """
    api_key, api_version, correlation_id, client_id_bytes = _HEADER.unpack_from(frame)
    end = _HEADER.size + max(client_id_bytes, 0)
    if end > len(frame):
        raise BadRequestError("the client id is cut off")
    client_id = bytes(frame[_HEADER.size : end]).decode(errors="replace")
    return RequestFrame(api_key, api_version, correlation_id, client_id, frame[end:])


def write_response(request: RequestFrame, response: Response) -> bytearray:
    """Return the frame of an answer."""
    return _encode(response, request.api_version, request.correlation_id)


def write_unsupported(request: RequestFrame) -> bytearray:
    """Return the protocol's own answer to what is not understood here.

    ApiVersions is answered in version 0, which every client reads (KIP-511). Others get
    UNSUPPORTED_VERSION where their answer has one error for all. Raises BadRequestError where it
    has not: Apache Kafka closes the connection then.
    """
    if request.api_key == _API_VERSIONS:
        answer = supported_versions(ErrorCode.UNSUPPORTED_VERSION)
        return _encode(answer, 0, request.correlation_id)
    response_class = _response_class(request)
    if response_class is None:
        raise BadRequestError(f"{request} is not supported")
    response = response_class(error_code=ErrorCode.UNSUPPORTED_VERSION)
    return _encode(response, request.api_version, request.correlation_id)


def _response_class(request: RequestFrame) -> Any:
    """Return the class of a request's answer, None where that is unknown or has no error field."""
    header = Struct(request_api_key=request.api_key, request_api_version=request.api_version)
    try:
        found = ResponseClassRegistry.get_response_class(header)
    except ValueError:
        return None
    if found is None:
        return None
    field = found.fields.get("error_code")
    return found if field is not None and field.for_version_q(request.api_version) else None


def _encode(response: Response, version: int, correlation_id: int) -> bytearray:
    response.API_VERSION = version
    response.with_header(correlation_id=correlation_id)
    encoded: bytearray = response.encode(header=True, framed=True)
    return encoded


def _after_tags(body: memoryview) -> memoryview:
    """Return what follows the header's tagged fields, of which none means anything here."""
    rest = io.BytesIO(body[:_MAX_TAG_BYTES])
    TaggedFields([]).decode(rest)
    return body[rest.tell() :]


def _check_nulls(message: Any, message_class: Any, version: int) -> None:
    """Raise BadRequestError for a null where there must be a value: the decoder takes any."""
    for name, nullable, struct_class in _nullable_fields(message_class, version):
        value = getattr(message, name)
        if value is None:
            if not nullable:
                raise BadRequestError(f"{name} must not be null")
        elif struct_class is not None:
            for each in value:
                _check_nulls(each, struct_class, version)
        elif type(value) is list and None in value:
            raise BadRequestError(f"{name} must not hold null")


@cache
def _nullable_fields(message_class: Any, version: int) -> list[tuple[str, bool, Any]]:
    """Return name, whether it may be null, and the structs' class where the field is an array."""
    return [
        (name, _may_be_null(field, version), field.data_class if field.is_struct_array() else None)
        for name, field in message_class.fields.items()
        if field.for_version_q(version) and field.tag is None
    ]


def _may_be_null(field: Any, version: int) -> bool:
    # The decoder turns the zero UUID into None.
    return field.type_str == "uuid" or bool(field.nullable_for_version_q(version))
