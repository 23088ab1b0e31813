"""What kafka-python 3.0.12 gets wrong and would never mend by itself.

All were found by the conformance suite. Each looks at private state, for want of another place,
and does nothing when all is well.
"""

from typing import Any


def unpark_records(client: Any) -> None:
    """Before a poll: let records that were parked by a pause come back after the resume.

    The fetcher takes parked records back only while it holds none of another partition, but asks
    whether that is None, and keeps what it has used up. Such a partition is neither returned nor
    fetched any more.
    """
    fetcher = client._fetcher  # noqa: SLF001 - see above
    if fetcher._paused_partition_records and not fetcher._next_partition_records:  # noqa: SLF001
        fetcher._next_partition_records = None  # noqa: SLF001


def keep_joining(client: Any) -> None:
    """After a poll: ask again for a rejoin that would be forgotten.

    What new metadata asks for is no longer asked for once the assignment is computed. If the poll
    ends before the group has synced, nobody takes the assignment in, and heartbeats stay off. (That
    is also why short polls never join.) The next poll goes on if the rejoin is still wanted.
    """
    coordinator = client._coordinator  # noqa: SLF001 - see above
    if coordinator._join_task is not None and not coordinator.need_rejoin():  # noqa: SLF001
        coordinator.request_rejoin()


def deliver_what_came_before_the_end(transport: Any) -> None:
    """To a new transport: pass on the last answer of a broker that hangs up right behind it.

    The transport drops what it received if the same read finds the connection closed, as it is
    after a refused login: the refusal would be taken for a broker that is away. What ended the
    connection is found again by the next read.
    """
    receive = transport._sock_recv  # noqa: SLF001 - see above

    def received_or_error() -> tuple[bytes, Exception | None]:
        received, error = receive()
        return (received, None) if received else (received, error)

    transport._sock_recv = received_or_error  # noqa: SLF001
