"""A consumer group of the classic protocol: members, generations, and the leader's assignment.

Apache Kafka's GroupCoordinator and GroupMetadata, restated. The newer protocol (KIP-848) is not
here. `groups.py` holds all groups and their committed offsets.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.group_member import (
    GroupState,
    Joined,
    JoinRequest,
    Member,
    MemberIdRequiredError,
)


@dataclass(slots=True)
class Group:
    """A consumer group of the classic protocol: who is a member, and what each generation gets.

        EMPTY -> PREPARING_REBALANCE -> COMPLETING_REBALANCE -> STABLE -> PREPARING_REBALANCE ...

    A generation begins when all known members have joined, or when the rebalance timeout is over
    for those who have not; it is stable when its leader has sent the assignment. All calls come
    from the event loop's thread; `tick` must be called often, for time passes only there. `join`
    and `sync` return futures that the group completes; one that is never awaited harms no one else.
    """

    group_id: str
    clock: Callable[[], float]
    initial_rebalance_delay_seconds: float
    state: GroupState = GroupState.EMPTY
    generation_id: int = 0
    protocol_type: str = ""
    protocol_name: str = ""
    leader: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    _pending: dict[str, float] = field(default_factory=dict)
    """Member ids given out to who must join again with them, and until when."""
    _hold_until: float = 0.0
    _deadline: float = 0.0

    @property
    def is_unused(self) -> bool:
        """Tell whether no one is a member or about to be."""
        return not self.members and not self._pending

    def join(self, request: JoinRequest) -> asyncio.Future[Joined]:
        """Join or rejoin; the answer comes when the generation is complete.

        Raises KafkaError: INCONSISTENT_GROUP_PROTOCOL, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, and
        as MemberIdRequiredError the id with which a new member must join again (KIP-394).
        """
        self._check_protocols(request)
        if request.member_id:
            return self._rejoin(request)
        static = self._static_member(request.group_instance_id)
        member_id = f"{request.group_instance_id or request.client_id}-{uuid.uuid4()}"
        if static is not None:
            return self._replace_static(static, member_id, request)
        if request.needs_member_id and request.group_instance_id is None:
            self._pending[member_id] = self.clock() + request.session_timeout_seconds
            raise MemberIdRequiredError(member_id)
        return self._add(member_id, request)

    def sync(
        self,
        member_id: str,
        group_instance_id: str | None,
        generation_id: int,
        assignments: Mapping[str, bytes],
    ) -> asyncio.Future[bytes]:
        """Return the member's assignment, when the leader has given it.

        The leader passes all assignments, others none. Raises KafkaError: REBALANCE_IN_PROGRESS
        where the member must join again (the future does, where that is found out later), and as
        `check` does.
        """
        member = self.check(member_id, group_instance_id, generation_id)
        member.heard(self.clock())
        if self.state is GroupState.PREPARING_REBALANCE:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)
        member.syncing = asyncio.get_running_loop().create_future()
        if self.state is GroupState.STABLE:
            member.syncing.set_result(member.assignment)
        elif member_id == self.leader:
            self._assign(assignments)
        return member.syncing

    def heartbeat(self, member_id: str, group_instance_id: str | None, generation_id: int) -> None:
        """Keep a member alive.

        Raises KafkaError: REBALANCE_IN_PROGRESS to say that it must rejoin, and as `check` does.
        """
        member = self.check(member_id, group_instance_id, generation_id)
        member.heard(self.clock())
        if self.state is GroupState.PREPARING_REBALANCE:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)

    def leave(self, member_id: str, group_instance_id: str | None) -> str:
        """Take a member out, found by either id; return its member id.

        The others rebalance at once. Raises KafkaError: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
        """
        if group_instance_id is not None:
            member = self._static_member(group_instance_id)
            if member is None:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
            if member_id and member_id != member.member_id:
                raise KafkaError(ErrorCode.FENCED_INSTANCE_ID)
            member_id = member.member_id
        elif self._pending.pop(member_id, None) is not None:
            self._complete_join()
            return member_id
        self._remove([self.check(member_id).member_id])
        return member_id

    def check(
        self, member_id: str, group_instance_id: str | None = None, generation_id: int | None = None
    ) -> Member:
        """Return a member that may speak for itself in this generation.

        Raises KafkaError: FENCED_INSTANCE_ID where another has its static id by now (KIP-345),
        UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION.
        """
        if group_instance_id is not None:
            static = self._static_member(group_instance_id)
            if static is not None and static.member_id != member_id:
                raise KafkaError(ErrorCode.FENCED_INSTANCE_ID)
        if member_id not in self.members:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if generation_id is not None and generation_id != self.generation_id:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        return self.members[member_id]

    def check_commit(
        self, member_id: str, group_instance_id: str | None, generation_id: int
    ) -> None:
        """Raise KafkaError unless these may commit; anybody may where there are no members."""
        if generation_id < 0 and not member_id and not self.members:
            return
        member = self.check(member_id, group_instance_id, generation_id)
        if self.state is GroupState.COMPLETING_REBALANCE:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)
        member.heard(self.clock())

    def check_transactional_commit(
        self, member_id: str, group_instance_id: str | None, generation_id: int
    ) -> None:
        """Raise KafkaError unless these may commit in a transaction (KIP-447).

        A producer that tells no member is fenced by its transactional id alone.
        """
        if generation_id >= 0 or member_id:
            self.check(member_id, group_instance_id, generation_id)

    def tick(self) -> None:
        """Let time pass: evict who was not heard, end what has waited long enough."""
        now = self.clock()
        for member_id in [key for key, deadline in self._pending.items() if deadline < now]:
            del self._pending[member_id]
        self._remove(
            [m.member_id for m in self.members.values() if not m.is_joining and m.deadline < now]
        )
        if self.state is GroupState.PREPARING_REBALANCE:
            if now >= self._deadline:
                self._remove_absent(lambda member: member.is_joining)
            self._complete_join(late=now >= self._deadline)
        elif self.state is GroupState.COMPLETING_REBALANCE and now >= self._deadline:
            self._remove_absent(lambda member: member.syncing is not None)

    def _rejoin(self, request: JoinRequest) -> asyncio.Future[Joined]:
        member_id = request.member_id
        if self._pending.pop(member_id, None) is not None:
            return self._add(member_id, request)
        member = self.check(member_id, request.group_instance_id)
        same = member.protocols == request.protocols
        member.request = request
        member.heard(self.clock())
        completing = self.state is GroupState.COMPLETING_REBALANCE
        # A leader that joins again in a stable group asks for a new assignment; in a generation
        # that is not complete yet it merely did not hear the answer.
        if same and (completing or (self.state is GroupState.STABLE and member_id != self.leader)):
            return _done(self._joined(member))
        return self._wait_for_join(member)

    def _add(self, member_id: str, request: JoinRequest) -> asyncio.Future[Joined]:
        member = Member(member_id, request, self.clock() + request.session_timeout_seconds)
        self.members[member_id] = member
        self.protocol_type = request.protocol_type
        return self._wait_for_join(member)

    def _replace_static(
        self, old: Member, member_id: str, request: JoinRequest
    ) -> asyncio.Future[Joined]:
        """Let a restarted static member take its old place, without a rebalance if it can."""
        old.refuse(ErrorCode.FENCED_INSTANCE_ID)
        member = Member(member_id, request, 0.0, old.assignment)
        member.heard(self.clock())
        # In the old one's place: the leader's assignment may depend on the order of members.
        self.members = {
            (member_id if key == old.member_id else key): (member if each is old else each)
            for key, each in self.members.items()
        }
        led = self.leader == old.member_id
        if led:
            self.leader = member_id
        name = self.protocol_name
        if self.state is not GroupState.STABLE or (
            old.protocols.get(name) != request.protocols.get(name)
        ):
            return self._wait_for_join(member)
        return _done(self._joined(member)._replace(skip_assignment=led))

    def _wait_for_join(self, member: Member) -> asyncio.Future[Joined]:
        member.joining = asyncio.get_running_loop().create_future()
        waiting = member.joining
        self._prepare_rebalance()
        self._complete_join()
        return waiting

    def _prepare_rebalance(self) -> None:
        if self.state is GroupState.PREPARING_REBALANCE:
            return
        now = self.clock()
        if self.state is GroupState.EMPTY:
            # Those who start together shall find themselves in one generation.
            self._hold_until = now + self.initial_rebalance_delay_seconds
        self._deadline = now + self._rebalance_timeout_seconds()
        self.state = GroupState.PREPARING_REBALANCE
        for member in self.members.values():
            if member.syncing is not None and not member.syncing.done():
                member.syncing.set_exception(KafkaError(ErrorCode.REBALANCE_IN_PROGRESS))

    def _complete_join(self, *, late: bool = False) -> None:
        """Begin the next generation, if everybody is here or it is too late for the others."""
        if self.state is not GroupState.PREPARING_REBALANCE:
            return
        if not self.members:
            self._become_empty()
            return
        joined = [member for member in self.members.values() if member.is_joining]
        missing = len(joined) < len(self.members) or bool(self._pending)
        if not joined or (missing and not late) or self.clock() < self._hold_until:
            return
        self.generation_id += 1
        self.protocol_name = self._vote()
        if self.leader not in {member.member_id for member in joined}:
            self.leader = joined[0].member_id
        self.state = GroupState.COMPLETING_REBALANCE
        self._deadline = self.clock() + self._rebalance_timeout_seconds()
        for member in joined:
            self._answer_join(member)

    def _answer_join(self, member: Member) -> None:
        waiting, member.joining, member.syncing = member.joining, None, None
        member.heard(self.clock())
        assert waiting is not None
        waiting.set_result(self._joined(member))

    def _joined(self, member: Member) -> Joined:
        leads = member.member_id == self.leader
        return Joined(
            self.generation_id,
            self.protocol_name,
            self.leader,
            member.member_id,
            list(self.members.values()) if leads else (),
        )

    def _assign(self, assignments: Mapping[str, bytes]) -> None:
        self.state = GroupState.STABLE
        for member in self.members.values():
            member.assignment = assignments.get(member.member_id, b"")
            if member.syncing is not None and not member.syncing.done():
                member.syncing.set_result(member.assignment)

    def _remove(self, member_ids: Collection[str]) -> None:
        for member_id in member_ids:
            self.members.pop(member_id).refuse(ErrorCode.UNKNOWN_MEMBER_ID)
        if member_ids:
            if self.state is not GroupState.PREPARING_REBALANCE:
                self._prepare_rebalance()
            self._complete_join()

    def _remove_absent(self, is_here: Callable[[Member], bool]) -> None:
        """Remove who did not come in time; static members stay until their session ends."""
        self._remove(
            [
                member.member_id
                for member in self.members.values()
                if not is_here(member) and member.group_instance_id is None
            ]
        )

    def _become_empty(self) -> None:
        self.state = GroupState.EMPTY
        self.generation_id += 1
        self.protocol_name = self.leader = ""

    def _static_member(self, group_instance_id: str | None) -> Member | None:
        if group_instance_id is None:
            return None
        members = self.members.values()
        return next((m for m in members if m.group_instance_id == group_instance_id), None)

    def _check_protocols(self, request: JoinRequest) -> None:
        others = [m for m in self.members.values() if m.member_id != request.member_id]
        common = set(request.protocols).intersection(*(other.protocols for other in others))
        if not common or (others and request.protocol_type != self.protocol_type):
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)

    def _vote(self) -> str:
        """Return the protocol that most members like best, of those that all know."""
        members = list(self.members.values())
        common = set(members[0].protocols).intersection(*(m.protocols for m in members))
        votes = Counter(next(name for name in m.protocols if name in common) for m in members)
        return votes.most_common(1)[0][0]

    def _rebalance_timeout_seconds(self) -> float:
        return max(
            (member.request.rebalance_timeout_seconds for member in self.members.values()),
            default=0.0,
        )


def _done(joined: Joined) -> asyncio.Future[Joined]:
    future: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()
    future.set_result(joined)
    return future
