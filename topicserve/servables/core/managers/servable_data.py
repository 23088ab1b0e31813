"""What is known of one version: a payload, or why there is none (core/servable_data.h)."""

from typing import Generic, TypeVar, cast

from topicserve.servables.core.errors import InternalError, ServableError
from topicserve.servables.core.servable_id import ServableId

T = TypeVar("T")


class ServableData(Generic[T]):
    """A version's id with exactly one of a payload and an error.

    Errors travel as data, so that one version at fault says so downstream, and its siblings are
    not touched. Two are equal when ids, payloads and errors (code and text) are.
    """

    __slots__ = ("_payload", "error", "id")

    def __init__(
        self, servable_id: ServableId, payload: T | None, error: ServableError | None = None
    ) -> None:
        self.id = servable_id
        self.error = error
        self._payload = payload

    @classmethod
    def failed(cls, servable_id: ServableId, error: ServableError) -> "ServableData[T]":
        """Return one without a payload."""
        return cls(servable_id, None, error)

    @property
    def payload(self) -> T:
        """Return the payload. Asking one that failed for it is a mistake: InternalError."""
        if self.error is not None:
            raise InternalError(f"{self.id} has no payload: {self.error}") from self.error
        return cast("T", self._payload)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ServableData):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        content = self.error if self.error is not None else self._payload
        return f"ServableData({self.id}, {content!r})"

    def _key(self) -> tuple[ServableId, object, str | None, str]:
        code = None if self.error is None else self.error.code
        return self.id, self._payload, code, str(self.error)
