"""Bodies of a user's own for tests, by what their methods do."""

from collections.abc import Callable, Mapping
from typing import Any

from topicserve.bodies import Asked, BodyAnswer, BodyContent
from topicserve.wire.bodies.custom import custom_body
from topicserve.wire.bodies.registry import Bodies, NamedBody

CUSTOM = [("content-type", b"application/x-test; mode=fast")]


class AnyBody:
    """Does what it is told."""

    content_types = ("application/x-test",)

    def __init__(
        self,
        read: Callable[[bytes, Mapping[str, str]], Any],
        write: Callable[[BodyAnswer], Any] = lambda answer: repr(answer.outputs["y"]).encode(),
    ) -> None:
        self._read = read
        self._write = write

    def read(self, value: bytes, parameters: Mapping[str, str]) -> BodyContent:
        content: BodyContent = self._read(value, parameters)
        return content

    def write(self, answer: BodyAnswer) -> bytes:
        value: bytes = self._write(answer)
        return value


class AnyRoutingBody(AnyBody):
    """Also asks for what it is told."""

    def __init__(self, asks: Callable[[bytes], Any], **rest: Any) -> None:
        super().__init__(**rest)
        self._asks = asks

    def asks(self, value: bytes, _: Mapping[str, str]) -> Asked:
        asked: Asked = self._asks(value)
        return asked


def bodies_with(body: Any) -> Bodies:
    """Return a worker's bodies, this one among them."""
    return Bodies({"test": NamedBody(*custom_body("test", body))})
