"""All consumer groups and their committed offsets; `group.py` has the rules of one group."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.group import Group
from topicserve.embedded.broker.log.journal import Journal, Key

TopicPartition = tuple[str, int]


class CommittedOffset(NamedTuple):
    """What a group committed for a partition; the fields are those of an OffsetCommit request."""

    offset: int
    leader_epoch: int
    metadata: str


Offsets = Mapping[TopicPartition, CommittedOffset]


class Groups:
    """All groups and their committed offsets.

    Offsets are in the journal, so they outlive the process; members and generations are not: after
    a restart members join again. Nothing expires offsets. All calls come from the event loop's
    thread.
    """

    def __init__(
        self, journal: Journal, clock: Callable[[], float], initial_rebalance_delay_seconds: float
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._initial_rebalance_delay_seconds = initial_rebalance_delay_seconds
        self._groups: dict[str, Group] = {}
        self._offsets: dict[str, dict[TopicPartition, CommittedOffset]] = defaultdict(dict)
        for (group_id, topic, partition), fact in journal.facts("offset").items():
            committed = CommittedOffset(*fact)
            self._offsets[str(group_id)][str(topic), int(partition)] = committed

    def __iter__(self) -> Iterator[Group]:
        """Go through all groups, those of which only offsets are known included."""
        for group_id in {*self._groups, *self._offsets}:
            yield self.peek(group_id)

    def get(self, group_id: str) -> Group:
        """Return a group for someone who joins it, and keep it from here on.

        Raises KafkaError INVALID_GROUP_ID where the name is empty.
        """
        if not group_id:
            raise KafkaError(ErrorCode.INVALID_GROUP_ID)
        return self._groups.setdefault(group_id, self.peek(group_id))

    def peek(self, group_id: str) -> Group:
        """Return a group, an empty one where no one has joined; that one is not kept."""
        known = self._groups.get(group_id)
        return known or Group(group_id, self._clock, self._initial_rebalance_delay_seconds)

    def exists(self, group_id: str) -> bool:
        """Tell whether there are members or offsets."""
        return group_id in self._groups or group_id in self._offsets

    def offsets(self, group_id: str) -> Offsets:
        """Return what a group has committed."""
        return self._offsets.get(group_id, {})

    def commit(self, group_id: str, offsets: Offsets) -> None:
        """Keep a group's offsets: in the journal first, then for who asks. Raises OSError."""
        self._journal.put(offset_facts({group_id: offsets}))
        self.apply({group_id: offsets})

    def apply(self, offsets: Mapping[str, Offsets]) -> None:
        """Show offsets that the journal has already: those of a transaction that was committed."""
        for group_id, committed in offsets.items():
            if committed:
                self._offsets[group_id].update(committed)

    def delete(self, group_id: str) -> None:
        """Delete a group without members, and its offsets.

        Raises KafkaError: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP.
        """
        if not self.exists(group_id):
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND)
        if self.peek(group_id).members:
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP)
        self._forget(group_id, list(self._offsets.get(group_id, ())))
        self._groups.pop(group_id, None)

    def forget_topic(self, topic: str) -> None:
        """Forget what was committed for a topic that is deleted."""
        for group_id, offsets in list(self._offsets.items()):
            self._forget(group_id, [key for key in offsets if key[0] == topic])

    def tick(self) -> None:
        """Let time pass in every group; groups that no one uses are forgotten."""
        for group in list(self._groups.values()):
            group.tick()
            if group.is_unused:
                # A later member must not get a generation that an earlier one may still claim.
                if group.group_id in self._offsets and group.generation_id:
                    continue
                del self._groups[group.group_id]

    def _forget(self, group_id: str, partitions: Collection[TopicPartition]) -> None:
        offsets = self._offsets.get(group_id)
        if offsets is None:
            return
        self._journal.put({("offset", group_id, *each): None for each in partitions})
        for each in partitions:
            del offsets[each]
        if not offsets:
            del self._offsets[group_id]


def offset_facts(offsets: Mapping[str, Offsets]) -> dict[Key, list[int | str]]:
    """Return how groups' offsets are kept."""
    return {
        ("offset", group_id, *partition): list(committed)
        for group_id, partitions in offsets.items()
        for partition, committed in partitions.items()
    }
