"""What members of a consumer group say and are told, and what a group keeps of each of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError


class GroupState(StrEnum):
    """The states of the classic group protocol, as admin tools print them."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


class JoinRequest(NamedTuple):
    """What a member says when it joins; `protocols` maps names to subscriptions, best first."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_seconds: float
    rebalance_timeout_seconds: float
    protocol_type: str
    protocols: Mapping[str, bytes]
    needs_member_id: bool
    """Whether the client must first be told its member id (KIP-394)."""


class Joined(NamedTuple):
    """The answer to a join; the leader alone is told the members."""

    generation_id: int
    protocol_name: str
    leader: str
    member_id: str
    members: Sequence["Member"] = ()
    skip_assignment: bool = False


@dataclass(slots=True)
class Member:
    """One member of a group, and whom of its requests waits for an answer."""

    member_id: str
    request: JoinRequest
    deadline: float
    """When it is taken for dead, unless it is heard before."""
    assignment: bytes = b""
    joining: asyncio.Future[Joined] | None = None
    syncing: asyncio.Future[bytes] | None = None

    @property
    def is_joining(self) -> bool:
        """Tell whether its join waits; a connection that was lost no longer does."""
        return self.joining is not None and not self.joining.done()

    @property
    def group_instance_id(self) -> str | None:
        """Return the id of a static member (KIP-345)."""
        return self.request.group_instance_id

    @property
    def protocols(self) -> Mapping[str, bytes]:
        """Return the subscriptions by protocol, best first."""
        return self.request.protocols

    def heard(self, now: float) -> None:
        """Take note that the member is alive."""
        self.deadline = now + self.request.session_timeout_seconds

    def refuse(self, code: ErrorCode) -> None:
        """Answer whatever waits with an error."""
        for waiting in (self.joining, self.syncing):
            if waiting is not None and not waiting.done():
                waiting.set_exception(KafkaError(code))


class MemberIdRequiredError(KafkaError):
    """The client must join once more, with this member id (KIP-394).

    So that a client whose first answer is lost leaves no member behind that only a timeout removes.
    """

    def __init__(self, member_id: str) -> None:
        super().__init__(ErrorCode.MEMBER_ID_REQUIRED)
        self.member_id = member_id
