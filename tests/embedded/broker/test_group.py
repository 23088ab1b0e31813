"""The state machine of a group, driven by hand: each member's future tells what it was answered."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.stages.records import ManualClock
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.group import Group
from topicserve.embedded.broker.group_member import (
    GroupState,
    Joined,
    JoinRequest,
    MemberIdRequiredError,
)

SESSION_SECONDS, REBALANCE_SECONDS, DELAY_SECONDS = 10.0, 60.0, 0.05


class Driver:
    """A group with a clock; joins and syncs as clients do."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.group = Group("g", self.clock, DELAY_SECONDS)

    def join(
        self,
        member_id: str = "",
        instance: str | None = None,
        protocols: dict[str, bytes] | None = None,
        *,
        needs_member_id: bool = False,
    ) -> asyncio.Future[Joined]:
        """Send a join."""
        return self.group.join(
            JoinRequest(
                member_id,
                instance,
                "client",
                "127.0.0.1",
                SESSION_SECONDS,
                REBALANCE_SECONDS,
                "consumer",
                protocols or {"range": b"topics"},
                needs_member_id,
            )
        )

    def state(self) -> GroupState:
        """Return the group's state."""
        return self.group.state

    def after_delay(self) -> None:
        """Let the time pass that a new group waits for others."""
        self.clock.advance(DELAY_SECONDS)
        self.group.tick()

    async def stable(self, *instances: str | None) -> list[str]:
        """Bring members into a stable group, the leader first, and return their ids."""
        joins = [self.join(instance=instance) for instance in instances]
        self.after_delay()
        ids = [(await join).member_id for join in joins]
        await self.sync_all(ids)
        return ids

    async def sync_all(self, ids: list[str]) -> None:
        """Let the leader assign to each member its own id."""
        assignments = {member_id: member_id.encode() for member_id in ids}
        generation = self.group.generation_id
        syncs = [
            self.group.sync(
                member_id, None, generation, assignments if member_id == self.group.leader else {}
            )
            for member_id in sorted(ids, key=lambda each: each == self.group.leader)
        ]
        await asyncio.gather(*syncs)


def driven(test: Callable[[Driver], Awaitable[None]]) -> Callable[[], None]:
    """Run a test on a loop with a driver of its own."""

    async def run() -> None:
        await test(Driver())

    def wrapped() -> None:
        asyncio.run(run())

    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    return wrapped


def refused(answer: "asyncio.Future[Joined] | asyncio.Future[bytes]") -> ErrorCode:
    """Return the error that a waiting request was answered with."""
    error = answer.exception()
    assert isinstance(error, KafkaError)
    return error.code


@driven
async def test_those_who_start_together_share_the_first_generation(driver: Driver) -> None:
    """A new group waits a moment before it begins, and one member leads."""
    first, second = driver.join(), driver.join()
    driver.group.tick()
    assert not first.done()

    driver.after_delay()

    leader, follower = await first, await second
    assert leader.generation_id == follower.generation_id == 1
    assert leader.leader == follower.leader == leader.member_id
    assert [member.member_id for member in leader.members] == [
        leader.member_id,
        follower.member_id,
    ]
    assert follower.members == ()
    assert driver.state() is GroupState.COMPLETING_REBALANCE


@driven
async def test_assignments_go_from_the_leader_to_everybody(driver: Driver) -> None:
    """A follower's sync waits for the leader's, and a late one is answered at once."""
    joins = [driver.join(), driver.join()]
    driver.after_delay()
    leader, follower = [(await join).member_id for join in joins]

    waiting = driver.group.sync(follower, None, 1, {})
    assert not waiting.done()
    given = driver.group.sync(leader, None, 1, {leader: b"1", follower: b"2"})

    assert (await given, await waiting) == (b"1", b"2")
    assert await driver.group.sync(follower, None, 1, {}) == b"2"
    assert driver.state() is GroupState.STABLE


@driven
async def test_a_client_is_told_its_member_id_before_it_joins(driver: Driver) -> None:
    """KIP-394: a client that never comes back leaves no member behind."""
    with pytest.raises(MemberIdRequiredError) as told:
        driver.join(needs_member_id=True)
    joining = driver.join(told.value.member_id)

    driver.after_delay()

    assert (await joining).member_id == told.value.member_id


@driven
async def test_a_member_id_that_is_never_used_is_forgotten(driver: Driver) -> None:
    """It does not hold the others up longer than a session."""
    with pytest.raises(MemberIdRequiredError):
        driver.join(needs_member_id=True)
    joining = driver.join()
    driver.after_delay()
    assert not joining.done()

    driver.clock.advance(SESSION_SECONDS)
    driver.group.tick()

    assert joining.done()


@driven
async def test_a_newcomer_makes_the_others_rejoin(driver: Driver) -> None:
    """Heartbeats tell members to rejoin, and the next generation begins when all have."""
    (first,) = await driver.stable(None)

    newcomer = driver.join()
    with pytest.raises(KafkaError) as told:
        driver.group.heartbeat(first, None, 1)
    assert told.value.code == ErrorCode.REBALANCE_IN_PROGRESS
    assert not newcomer.done()
    rejoined = driver.join(first)

    assert (await rejoined).generation_id == (await newcomer).generation_id == 2
    assert (await rejoined).leader == first


@driven
async def test_a_member_that_leaves_makes_room_at_once(driver: Driver) -> None:
    """Those who stay rejoin; when the last one leaves, the group is empty."""
    first, second = await driver.stable(None, None)

    assert driver.group.leave(second, None) == second
    assert driver.state() is GroupState.PREPARING_REBALANCE
    await driver.join(first)
    driver.group.leave(first, None)

    assert driver.state() is GroupState.EMPTY
    assert driver.group.is_unused


@driven
async def test_a_silent_member_is_evicted_when_its_session_ends(driver: Driver) -> None:
    """Heartbeats keep a member; without them it goes, and the others rebalance."""
    first, second = await driver.stable(None, None)
    driver.clock.advance(SESSION_SECONDS - 1)
    driver.group.heartbeat(first, None, 1)
    driver.group.tick()
    assert set(driver.group.members) == {first, second}

    driver.clock.advance(2)
    driver.group.tick()

    assert set(driver.group.members) == {first}
    assert driver.state() is GroupState.PREPARING_REBALANCE


@driven
async def test_a_join_whose_connection_is_lost_does_not_keep_the_member(driver: Driver) -> None:
    """A killed process that waited for a join is evicted like any other."""
    (first,) = await driver.stable(None)
    lost = driver.join()
    lost.cancel()
    rejoined = driver.join(first)
    assert not rejoined.done()

    driver.clock.advance(SESSION_SECONDS + 1)
    driver.group.tick()

    assert set(driver.group.members) == {first}
    assert (await rejoined).generation_id == 2


@driven
async def test_who_does_not_rejoin_in_time_is_left_behind(driver: Driver) -> None:
    """The rebalance timeout ends the wait, even for members that go on beating."""
    first, second = await driver.stable(None, None)
    rejoined = driver.join(first)
    for _ in range(int(REBALANCE_SECONDS)):
        driver.clock.advance(1)
        with pytest.raises(KafkaError):
            driver.group.heartbeat(second, None, 1)
    driver.group.tick()

    assert (await rejoined).generation_id == 2
    assert set(driver.group.members) == {first}


@driven
async def test_a_leader_that_never_assigns_is_left_behind(driver: Driver) -> None:
    """Followers that wait for an assignment are told to rejoin without it."""
    joins = [driver.join(), driver.join()]
    driver.after_delay()
    leader, follower = [(await join).member_id for join in joins]
    waiting = driver.group.sync(follower, None, 1, {})
    for _ in range(int(REBALANCE_SECONDS)):
        driver.clock.advance(1)
        driver.group.heartbeat(leader, None, 1)
        driver.group.heartbeat(follower, None, 1)

    driver.group.tick()

    assert refused(waiting) == ErrorCode.REBALANCE_IN_PROGRESS
    assert set(driver.group.members) == {follower}


@driven
async def test_a_rebalance_ends_the_wait_for_an_assignment(driver: Driver) -> None:
    """A sync of the generation before is not answered with the assignment of the next."""
    joins = [driver.join(), driver.join()]
    driver.after_delay()
    _, follower = [(await join).member_id for join in joins]
    waiting = driver.group.sync(follower, None, 1, {})

    driver.join()

    assert refused(waiting) == ErrorCode.REBALANCE_IN_PROGRESS


@driven
async def test_a_static_member_comes_back_without_a_rebalance(driver: Driver) -> None:
    """KIP-345: the restarted one takes its place and its assignment, the old one is fenced."""
    leader, follower = await driver.stable("a", "b")

    again = await driver.join(instance="b")

    assert driver.state() is GroupState.STABLE
    assert again.generation_id == 1
    assert again.member_id != follower
    assert await driver.group.sync(again.member_id, "b", 1, {}) == follower.encode()
    with pytest.raises(KafkaError) as told:
        driver.group.heartbeat(follower, "b", 1)
    assert told.value.code == ErrorCode.FENCED_INSTANCE_ID
    driver.group.heartbeat(leader, "a", 1)


@driven
async def test_a_static_leader_that_comes_back_does_not_assign_anew(driver: Driver) -> None:
    """KIP-814: it leads on, and is told that the assignment stands."""
    await driver.stable("a", "b")

    again = await driver.join(instance="a")

    assert again.skip_assignment
    assert again.leader == again.member_id
    assert driver.state() is GroupState.STABLE


@driven
async def test_a_static_member_with_another_subscription_rebalances(driver: Driver) -> None:
    """What it wants has changed, so what everybody gets may change."""
    await driver.stable("a", "b")

    again = driver.join(instance="b", protocols={"range": b"other topics"})

    assert not again.done()
    assert driver.state() is GroupState.PREPARING_REBALANCE


@driven
async def test_a_waiting_request_of_a_replaced_static_member_is_fenced(driver: Driver) -> None:
    """Two processes with one instance id: the newer one wins, and the older is told."""
    old = driver.join(instance="a")

    driver.join(instance="a")

    assert refused(old) == ErrorCode.FENCED_INSTANCE_ID


@driven
async def test_members_vote_for_a_protocol_that_all_know(driver: Driver) -> None:
    """The most liked of the common ones wins; who knows none of them cannot join."""
    first = driver.join(protocols={"sticky": b"s", "range": b"r"})
    driver.join(protocols={"range": b"r", "sticky": b"s"})
    driver.join(protocols={"range": b"r"})
    driver.after_delay()

    assert (await first).protocol_name == "range"
    with pytest.raises(KafkaError) as told:
        driver.join(protocols={"sticky": b"s"})
    assert told.value.code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


@driven
async def test_a_leader_that_joins_again_asks_for_a_new_assignment(driver: Driver) -> None:
    """A follower that does so is only told once more what it knows."""
    leader, follower = await driver.stable(None, None)

    assert (await driver.join(follower)).generation_id == 1
    assert driver.state() is GroupState.STABLE
    driver.join(leader)

    assert driver.state() is GroupState.PREPARING_REBALANCE


@driven
async def test_who_may_commit(driver: Driver) -> None:
    """Members of the generation may; strangers only while no one is a member."""
    driver.group.check_commit("", None, -1)
    (first,) = await driver.stable(None)

    driver.group.check_commit(first, None, 1)
    codes = []
    for member_id, generation in ((first, 0), ("stranger", 1), ("", -1)):
        with pytest.raises(KafkaError) as told:
            driver.group.check_commit(member_id, None, generation)
        codes.append(told.value.code)

    unknown = ErrorCode.UNKNOWN_MEMBER_ID
    assert codes == [ErrorCode.ILLEGAL_GENERATION, unknown, unknown]
