from collections import Counter
from datetime import UTC, datetime

import pytest
from rich.console import Console

from topicserve.backends.broker import GroupDescription, GroupMember, LogOffsets
from topicserve.cli.status.flags import Deployment
from topicserve.cli.status.recent import Recent
from topicserve.cli.status.sample import Sample
from topicserve.cli.status.screen import rendered
from topicserve.cli.status.status import Status
from topicserve.cli.status.workers import ReportedWorker
from topicserve.wire.kafka_record import TopicPartition

FIRST, SECOND = TopicPartition("in", 0), TopicPartition("in", 1)
DEPLOYMENT = Deployment(
    bootstrap_servers="127.0.0.1:9092",
    client="kafka-python",
    settings={},
    group_id="digits",
    topics=("in",),
    output_topic="out",
    dead_letter_topic="in.dead-letter",
    workers=(),
    since=datetime(2026, 11, 28, 6, tzinfo=UTC),
)
MEMBER = GroupMember("member-1", "worker-1", "10.0.0.7", None, (FIRST, SECOND))


def a_sample(
    at: float,
    committed: tuple[int | None, int | None],
    ends: tuple[int, int] = (1000, 500),
    group: GroupDescription | None = None,
    output: int = 0,
    starts: tuple[int, int] = (0, 0),
    missing: tuple[str, ...] = (),
) -> Sample:
    """Return a sample of two partitions."""
    log = {
        p: LogOffsets(*own)
        for p, own in zip((FIRST, SECOND), zip(starts, ends, strict=True), strict=True)
    }
    return Sample(
        at,
        group or GroupDescription("Stable", (MEMBER,)),
        log,
        dict(zip((FIRST, SECOND), committed, strict=True)),
        {TopicPartition("out", 0): LogOffsets(0, output)},
        missing_topics=missing,
    )


def a_status(sample: Sample, before: Sample | None = None, **more: object) -> Status:
    """Return a status."""
    workers = more.get("workers", [])
    recent = more.get("recent", Recent())
    return Status(DEPLOYMENT, sample, before, workers, recent)  # type: ignore[arg-type]


def test_the_lag_and_the_time_that_it_takes() -> None:
    """At the rate at which records are answered, less the rate at which new ones come."""
    before = a_sample(10.0, (100, 480), ends=(900, 500), output=50)
    status = a_status(a_sample(12.0, (500, 500), output=430), before)

    first, second = status.partitions
    assert (first.lag, first.written_per_second, first.answered_per_second) == (500, 50, 200)
    assert first.drain_seconds == status.drain_seconds == pytest.approx(500 / 150)
    assert (status.lag, second.drain_seconds) == (500, 0)
    assert status.published_per_second == 190
    assert status.waiting_for == []


def test_a_lag_that_does_not_shrink_has_no_end() -> None:
    """Where as much comes as is answered."""
    before = a_sample(10.0, (100, 500), ends=(900, 500))
    status = a_status(a_sample(12.0, (200, 500), ends=(1000, 500)), before)

    assert (status.lag, status.drain_seconds) == (800, None)


def test_a_group_that_never_committed_has_all_records_before_it() -> None:
    """But those that retention has deleted."""
    status = a_status(a_sample(1.0, (None, 5), starts=(400, 20)))

    assert [one.lag for one in status.partitions] == [600, 480]
    assert status.partitions[0].answered_per_second is None


@pytest.mark.parametrize(
    ("group", "committed", "expected"),
    [
        (GroupDescription("Empty", ()), (0, 0), ["no worker is in the group digits"]),
        (
            GroupDescription("PreparingRebalance", (MEMBER,)),
            (0, 0),
            [
                "the group rebalances (PreparingRebalance)",
                "in-0: 1,000 records wait, and none was answered",
                "in-1: 500 records wait, and none was answered",
            ],
        ),
        (
            GroupDescription("Stable", (MEMBER._replace(partitions=(FIRST,)),)),
            (1000, 0),
            ["in-1 is assigned to no member"],
        ),
    ],
)
def test_what_keeps_records_from_being_answered(
    group: GroupDescription, committed: tuple[int, int], expected: list[str]
) -> None:
    """As far as it shows from outside."""
    status = a_status(a_sample(2.0, committed, group=group), a_sample(1.0, committed, group=group))

    assert status.waiting_for == expected


def test_workers_say_what_they_wait_for() -> None:
    """And so does a topic that does not exist, or cannot be read."""
    worker = ReportedWorker("http://w:80", answers=True, problems=("the store is away",))
    sample = a_sample(1.0, (1000, 500), missing=("out",))

    status = a_status(sample, workers=[worker], recent=Recent(problem="no record came"))

    assert status.waiting_for == [
        "topic out does not exist",
        "http://w:80: the store is away",
        "no record came",
    ]


def test_a_status_is_one_object_for_a_script() -> None:
    """With everything that the tables show."""
    recent = Recent(Counter(timed_out=3), {"worker-1": Counter({"digits version 7": 100})})
    worker = ReportedWorker("http://w:80", True, (), {"digits": {"7": "AVAILABLE"}})
    before = a_sample(10.0, (500, 500))

    content = a_status(
        a_sample(12.0, (600, 500)), before, recent=recent, workers=[worker]
    ).content()

    assert content["partitions"][0] == {
        "topic": "in",
        "partition": 0,
        "end": 1000,
        "committed": 600,
        "lag": 400,
        "written_per_second": 0.0,
        "answered_per_second": 50.0,
        "drain_seconds": 8.0,
        "worker": "worker-1",
    }
    assert content["members"] == [
        {"worker": "worker-1", "host": "10.0.0.7", "group_instance_id": None, "partitions": 2}
    ]
    assert content["workers"][0]["versions"] == {"digits": {"7": "AVAILABLE"}}
    assert content["dead_letters"] == {"timed_out": 3}
    assert content["last_results"] == {"worker-1": {"digits version 7": 100}}
    assert (content["lag"], content["drain_seconds"], content["state"]) == (400, 8.0, "Stable")


def shown(status: Status, **console: object) -> str:
    """Return what a person sees."""
    screen = Console(width=160, **console)  # type: ignore[arg-type]
    with screen.capture() as captured:
        screen.print(rendered(status))
    return captured.get()


def test_the_tables_show_all_of_it() -> None:
    """Without colours, and without anything that could change a terminal."""
    recent = Recent(Counter(timed_out=3), {"w\x1b[2J": Counter({"digits version 7": 100})})
    worker = ReportedWorker("http://w:80", True, ("\x1b[31m",), {"digits": {"7": "AVAILABLE"}})

    text = shown(a_status(a_sample(1.0, (600, 500)), recent=recent, workers=[worker]))

    for expected in (
        "lag 400",
        "in-0",
        "worker-1",
        "10.0.0.7",
        "digits 7 AVAILABLE",
        "3  timed_out",
    ):
        assert expected in text
    assert "digits version 7 (100)" in text
    assert "\x1b" not in text


def test_colours_are_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """As https://no-color.org asks."""
    status = a_status(a_sample(1.0, (600, 500)))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    coloured = shown(status, force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = shown(status, force_terminal=True)

    assert "\x1b[32m" in coloured
    assert "\x1b[32m" not in plain
