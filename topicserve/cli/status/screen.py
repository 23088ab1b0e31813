"""A status for a person: tables, in colour on a terminal.

Everything that others chose is made printable. `Status.content` is the same for scripts.
"""

import sys
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from topicserve.cli.status.status import Status
from topicserve.printable import printable

# What is not a terminal has no width: nothing is cut there.
_WIDTH = 200
_GOOD, _BAD, _DIM = "green", "red", "dim"


def open_console() -> Console:
    """Return standard output; rich leaves colours out where it is no terminal, or for NO_COLOR."""
    is_terminal = sys.stdout.isatty()
    width = None if is_terminal else _WIDTH
    # Names that others chose are shown as they are: [x] is no markup, and :x: no emoji.
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def rendered(status: Status) -> RenderableType:
    """Return a status as tables: summary, partitions, members, versions, dead letters, waits."""
    return Group(*_parts(status))


def _parts(status: Status) -> Iterator[RenderableType]:
    yield _summary(status)
    yield Text()
    yield _partitions(status)
    if status.sample.group.members:
        yield Text()
        yield _members(status)
    if status.recent.answers or any(worker.versions for worker in status.workers):
        yield Text()
        yield _versions(status)
    yield Text()
    yield _dead_letters(status)
    yield Text()
    yield from _waiting(status)


def _summary(status: Status) -> Text:
    state = status.sample.group.state
    text = Text(f"group {printable(status.deployment.group_id)}  ")
    text.append(printable(state), _GOOD if state == "Stable" else _BAD)
    text.append(f"  lag {status.lag:,}  ")
    text.append(f"drained in {_duration(status.drain_seconds)}  ")
    text.append(f"written {_rate(status.total('written_per_second'))}  ")
    text.append(f"answered {_rate(status.total('answered_per_second'))}  ")
    text.append(f"published {_rate(status.published_per_second)}")
    return text


def _partitions(status: Status) -> Table:
    table = _table(
        "partition", "end", "committed", "lag", "written", "answered", "drained in", "worker"
    )
    for one in status.partitions:
        table.add_row(
            f"{printable(one.partition.topic)}-{one.partition.partition}",
            f"{one.end:,}",
            "-" if one.committed is None else f"{one.committed:,}",
            Text(f"{one.lag:,}", _BAD if one.lag and one.drain_seconds is None else ""),
            _rate(one.written_per_second),
            _rate(one.answered_per_second),
            _duration(one.drain_seconds),
            printable(one.worker or "-"),
        )
    return table


def _members(status: Status) -> Table:
    table = _table("worker", "host", "partitions", "instance", numbers=("partitions",))
    for member in sorted(status.sample.group.members, key=lambda one: one.client_id):
        table.add_row(
            printable(member.client_id),
            printable(member.host),
            str(len(member.partitions)),
            printable(member.group_instance_id or "-"),
        )
    return table


def _versions(status: Status) -> Table:
    """Return what each worker serves, as it says, and what it answered lately."""
    table = _table("worker", "serves", "answered lately", numbers=())
    for worker in status.workers:
        table.add_row(printable(worker.url), _served(worker.versions or {}), "")
    for name, answers in sorted(status.recent.answers.items()):
        said = ", ".join(f"{printable(answer)} ({n})" for answer, n in answers.most_common())
        table.add_row(printable(name), "", said)
    return table


def _served(versions: dict[str, dict[str, str]]) -> str:
    return ", ".join(
        printable(f"{name} {version} {state}")
        for name, states in versions.items()
        for version, state in states.items()
    )


def _dead_letters(status: Status) -> RenderableType:
    since = status.deployment.since.strftime("%Y-%m-%dT%H:%M:%SZ")
    reasons = status.recent.reasons
    text = Text(f"{reasons.total():,} dead letters since {since}", _BAD if reasons else "")
    for reason, number in reasons.most_common():
        text.append(f"\n{number:>11,}  {printable(reason)}", "")
    return text


def _waiting(status: Status) -> Iterator[RenderableType]:
    waiting = status.waiting_for
    if not waiting:
        yield Text("nothing is waited for", _DIM)
    for one in waiting:
        yield Text(f"waiting: {printable(one)}", _BAD)


def _table(*columns: str, numbers: tuple[str, ...] | None = None) -> Table:
    """Return a table without lines; all columns but the first and the last are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    right = columns[1:-1] if numbers is None else numbers
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table


def _rate(per_second: float | None) -> str:
    return "-" if per_second is None else f"{per_second:,.0f}/s"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
