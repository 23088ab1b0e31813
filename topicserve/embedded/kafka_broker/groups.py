"""Consumer groups of the classic kind: join, synchronise, beat, leave, and the offsets they commit.

A group gathers its members (preparing), hands their subscriptions to the leader, waits for the
leader's assignment (completing) and is then stable. Rules as in Kafka's GroupCoordinator.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from topicserve.embedded.kafka_broker.error_codes import Code

MAX_GROUP_MEMBERS = 1000


class GroupState(Enum):
    """Kafka's names of a group's states."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"


class JoinRequest(NamedTuple):
    """What a member says when it joins."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    session_timeout_seconds: float
    rebalance_timeout_seconds: float
    protocol_type: str
    protocols: Sequence[tuple[str, bytes]]
    must_know_id: bool
    """The client joins a second time under the id that it is given first (KIP-394)."""


class Joined(NamedTuple):
    """The answer to a join; `members` (id, instance id, subscription) is for the leader alone."""

    error: Code
    generation: int = -1
    leader: str = ""
    protocol: str | None = None
    member_id: str = ""
    members: Sequence[tuple[str, str | None, bytes]] = ()


class Synced(NamedTuple):
    """The answer to a synchronisation."""

    error: Code
    assignment: bytes = b""


class CommittedOffset(NamedTuple):
    """What a group committed for a partition."""

    offset: int
    metadata: str


@dataclass(slots=True, eq=False)
class Member:
    """A member, and the requests of its that wait for the others."""

    id: str
    instance_id: str | None
    client_id: str
    host: str
    session_timeout_seconds: float
    rebalance_timeout_seconds: float
    protocols: Sequence[tuple[str, bytes]]
    beat_at: float
    assignment: bytes = b""
    joining: asyncio.Future[Joined] | None = None
    syncing: asyncio.Future[Synced] | None = None

    def subscription(self, protocol: str) -> bytes:
        """Return what the member said under the protocol chosen."""
        return next((data for name, data in self.protocols if name == protocol), b"")

    def answer(self, error: Code) -> None:
        """End its waiting requests with an error."""
        if self.joining is not None and not self.joining.done():
            self.joining.set_result(Joined(error, member_id=self.id))
        if self.syncing is not None and not self.syncing.done():
            self.syncing.set_result(Synced(error))
        self.joining = self.syncing = None


@dataclass(slots=True, eq=False)
class Group:
    """One group. All methods are called on the event loop."""

    id: str
    clock: Callable[[], float]
    initial_delay_seconds: float
    state: GroupState = GroupState.EMPTY
    generation: int = 0
    leader: str = ""
    protocol: str = ""
    protocol_type: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    offsets: dict[tuple[str, int], CommittedOffset] = field(default_factory=dict)
    _expected: dict[str, float] = field(default_factory=dict)
    """Ids given out to members that have yet to join under them, and until when."""
    _deadline: float = 0.0
    _not_before: float = 0.0

    async def join(self, request: JoinRequest) -> Joined:
        """Take a member in, and answer once the others have joined too."""
        if not self._shares_a_protocol(request):
            return Joined(Code.INCONSISTENT_GROUP_PROTOCOL, member_id=request.member_id)
        if not request.member_id:
            known = self._static_member(request.instance_id)
            if known is not None:
                return await self._replace(known, request)
            if request.must_know_id and request.instance_id is None:
                return self._expect(request)
            new_id = f"{request.instance_id or request.client_id}-{uuid.uuid4()}"
            return await self._add(request._replace(member_id=new_id))
        member = self.members.get(request.member_id)
        if member is None:
            if self._expected.pop(request.member_id, None) is None:
                fenced = self._static_member(request.instance_id) is not None
                error = Code.FENCED_INSTANCE_ID if fenced else Code.UNKNOWN_MEMBER_ID
                return Joined(error, member_id=request.member_id)
            return await self._add(request)
        if request.instance_id is not None and member.instance_id != request.instance_id:
            return Joined(Code.FENCED_INSTANCE_ID, member_id=request.member_id)
        return await self._join_again(member, request)

    async def sync(self, member_id: str, generation: int, assignments: dict[str, bytes]) -> Synced:
        """Take the leader's assignment, and answer each member with its own."""
        error = self.check(member_id, generation)
        if error is not Code.NONE:
            return Synced(error)
        member = self.members[member_id]
        member.beat_at = self.clock()
        if self.state is GroupState.PREPARING_REBALANCE:
            return Synced(Code.REBALANCE_IN_PROGRESS)
        if self.state is GroupState.STABLE:
            return Synced(Code.NONE, member.assignment)
        future: asyncio.Future[Synced] = asyncio.get_running_loop().create_future()
        member.syncing = future
        if member_id == self.leader:
            self._assign(assignments)
        answer = await future
        member.beat_at = self.clock()
        return answer

    def beat(self, member_id: str, instance_id: str | None, generation: int) -> Code:
        """Note that a member is alive, and tell it of a rebalance."""
        error = self.check(member_id, generation, instance_id)
        if error is not Code.NONE:
            return error
        self.members[member_id].beat_at = self.clock()
        preparing = self.state is GroupState.PREPARING_REBALANCE
        return Code.REBALANCE_IN_PROGRESS if preparing else Code.NONE

    def leave(self, member_id: str, instance_id: str | None) -> Code:
        """Let a member go; a static one may be named by its instance alone."""
        if instance_id is not None:
            known = self._static_member(instance_id)
            if known is None:
                return Code.UNKNOWN_MEMBER_ID
            if member_id and known.id != member_id:
                return Code.FENCED_INSTANCE_ID
            member_id = known.id
        if member_id not in self.members:
            known_id = self._expected.pop(member_id, None) is not None
            return Code.NONE if known_id else Code.UNKNOWN_MEMBER_ID
        self._remove([member_id])
        return Code.NONE

    def check(self, member_id: str, generation: int, instance_id: str | None = None) -> Code:
        """Return what is wrong with a member's claim to be one of this generation."""
        if instance_id is not None:
            known = self._static_member(instance_id)
            if known is not None and known.id != member_id:
                return Code.FENCED_INSTANCE_ID
        if member_id not in self.members:
            return Code.UNKNOWN_MEMBER_ID
        return Code.NONE if generation == self.generation else Code.ILLEGAL_GENERATION

    def check_commit(
        self, member_id: str, generation: int, instance_id: str | None, *, transactional: bool
    ) -> Code:
        """Return whether an offset commit is to be taken: a member's, or a simple consumer's."""
        if generation < 0 and not member_id:
            simple = not self.members or transactional
            return Code.NONE if simple else Code.UNKNOWN_MEMBER_ID
        error = self.check(member_id, generation, instance_id)
        if error is not Code.NONE:
            return error
        self.members[member_id].beat_at = self.clock()
        completing = self.state is GroupState.COMPLETING_REBALANCE and not transactional
        return Code.REBALANCE_IN_PROGRESS if completing else Code.NONE

    def tick(self) -> None:
        """Evict who has fallen silent, and end a rebalance that has lasted too long."""
        now = self.clock()
        for expected in [m for m, until in self._expected.items() if until < now]:
            del self._expected[expected]
        silent = [
            member.id
            for member in self.members.values()
            if member.joining is None and now - member.beat_at > member.session_timeout_seconds
        ]
        if silent:
            self._remove(silent)
        if self.state is GroupState.PREPARING_REBALANCE:
            if now >= self._deadline:
                late = [m.id for m in self.members.values() if m.joining is None]
                for member_id in late:
                    del self.members[member_id]
            self._complete_if_all_joined()

    def _shares_a_protocol(self, request: JoinRequest) -> bool:
        if not request.protocols or len(self.members) >= MAX_GROUP_MEMBERS:
            return False
        others = [m for m in self.members.values() if m.id != request.member_id]
        if others and request.protocol_type != self.protocol_type:
            return False
        common = {name for name, _ in request.protocols}
        for member in others:
            common &= {name for name, _ in member.protocols}
        return bool(common)

    def _static_member(self, instance_id: str | None) -> Member | None:
        if instance_id is None:
            return None
        return next((m for m in self.members.values() if m.instance_id == instance_id), None)

    def _expect(self, request: JoinRequest) -> Joined:
        new_id = f"{request.client_id}-{uuid.uuid4()}"
        if len(self._expected) < MAX_GROUP_MEMBERS:
            self._expected[new_id] = self.clock() + request.session_timeout_seconds
        return Joined(Code.MEMBER_ID_REQUIRED, member_id=new_id)

    async def _add(self, request: JoinRequest) -> Joined:
        member = Member(
            request.member_id,
            request.instance_id,
            request.client_id,
            request.host,
            request.session_timeout_seconds,
            request.rebalance_timeout_seconds,
            request.protocols,
            self.clock(),
        )
        self.members[member.id] = member
        self.protocol_type = request.protocol_type
        return await self._wait_for_others(member)

    async def _join_again(self, member: Member, request: JoinRequest) -> Joined:
        unchanged = list(member.protocols) == list(request.protocols)
        member.protocols = request.protocols
        member.beat_at = self.clock()
        member.session_timeout_seconds = request.session_timeout_seconds
        member.rebalance_timeout_seconds = request.rebalance_timeout_seconds
        # A follower that says nothing new need not disturb the others; a leader joins again in
        # order to assign anew.
        if unchanged and (
            (self.state is GroupState.STABLE and member.id != self.leader)
            or self.state is GroupState.COMPLETING_REBALANCE
        ):
            return self._joined(member)
        return await self._wait_for_others(member)

    async def _replace(self, known: Member, request: JoinRequest) -> Joined:
        """Give a static member's place to its new self: no rebalance if nothing changed."""
        unchanged = list(known.protocols) == list(request.protocols)
        old_id = known.id
        known.answer(Code.FENCED_INSTANCE_ID)
        new_id = f"{request.instance_id}-{uuid.uuid4()}"
        self.members = {
            (new_id if member_id == old_id else member_id): member
            for member_id, member in self.members.items()
        }
        known.id = new_id
        known.protocols = request.protocols
        known.beat_at = self.clock()
        known.session_timeout_seconds = request.session_timeout_seconds
        known.rebalance_timeout_seconds = request.rebalance_timeout_seconds
        was_leader = self.leader == old_id
        if was_leader:
            self.leader = new_id
        if self.state is GroupState.STABLE and unchanged:
            # A leader that came back is told of its old self, so that it does not assign anew.
            leader = old_id if was_leader else self.leader
            return Joined(Code.NONE, self.generation, leader, self.protocol, new_id)
        return await self._wait_for_others(known)

    async def _wait_for_others(self, member: Member) -> Joined:
        future: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()
        member.joining = future
        self._prepare()
        self._complete_if_all_joined()
        return await future

    def _prepare(self) -> None:
        now = self.clock()
        if self.state is not GroupState.PREPARING_REBALANCE:
            for member in self.members.values():
                if member.syncing is not None and not member.syncing.done():
                    member.syncing.set_result(Synced(Code.REBALANCE_IN_PROGRESS))
                member.syncing = None
            first = self.state is GroupState.EMPTY
            self.state = GroupState.PREPARING_REBALANCE
            self._not_before = now + (self.initial_delay_seconds if first else 0)
            if first and self.initial_delay_seconds:
                loop = asyncio.get_running_loop()
                loop.call_later(self.initial_delay_seconds, self._complete_if_all_joined)
        longest = max((m.rebalance_timeout_seconds for m in self.members.values()), default=0)
        self._deadline = now + longest

    def _complete_if_all_joined(self) -> None:
        if self.state is not GroupState.PREPARING_REBALANCE:
            return
        if not self.members:
            self._empty()
            return
        waiting = any(member.joining is None for member in self.members.values())
        # A hair's breadth: the timer may fire a moment before its time.
        if waiting or self.clock() < self._not_before - 0.001:
            return
        self.generation += 1
        self.protocol = self._elect_protocol()
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        self.state = GroupState.COMPLETING_REBALANCE
        for member in list(self.members.values()):
            joining, member.joining = member.joining, None
            member.beat_at = self.clock()
            if joining is not None and not joining.done():
                joining.set_result(self._joined(member))

    def _joined(self, member: Member) -> Joined:
        subscriptions = [
            (other.id, other.instance_id, other.subscription(self.protocol))
            for other in self.members.values()
            if member.id == self.leader
        ]
        return Joined(
            Code.NONE, self.generation, self.leader, self.protocol, member.id, subscriptions
        )

    def _elect_protocol(self) -> str:
        """Each member votes for the first of its protocols that all of them have."""
        members = list(self.members.values())
        common = set.intersection(*({name for name, _ in m.protocols} for m in members))
        votes = Counter(
            next(name for name, _ in member.protocols if name in common) for member in members
        )
        return votes.most_common(1)[0][0]

    def _assign(self, assignments: dict[str, bytes]) -> None:
        self.state = GroupState.STABLE
        for member in self.members.values():
            member.assignment = assignments.get(member.id, b"")
            member.beat_at = self.clock()
            if member.syncing is not None and not member.syncing.done():
                member.syncing.set_result(Synced(Code.NONE, member.assignment))
            member.syncing = None

    def _remove(self, member_ids: Sequence[str]) -> None:
        for member_id in member_ids:
            self.members.pop(member_id).answer(Code.UNKNOWN_MEMBER_ID)
        if not self.members:
            self._empty()
            return
        self._prepare()
        self._complete_if_all_joined()

    def _empty(self) -> None:
        self.state = GroupState.EMPTY
        self.generation += 1
        self.leader = self.protocol = ""
