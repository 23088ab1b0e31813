import argparse
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.fakes import MemoryMetadataStore
from tests.support.stages.records import an_id
from topicserve.backends.errors import (
    BackendUnavailableError,
    DeliveryTimeoutError,
    RecordTooLargeError,
)
from topicserve.cli.errors import UsageError
from topicserve.cli.pace import Pace
from topicserve.cli.progress import CountProgress
from topicserve.cli.publish import add_arguments, window
from topicserve.cli.publish.checkpoint import Checkpoint
from topicserve.cli.publish.publishing import Publishing
from topicserve.cli.publish.sources import open_source
from topicserve.producer.errors import PublishError
from topicserve.producer.record_producer import RecordProducer
from topicserve.wire.kafka_record import OutgoingRecord


class Setup:
    """A file's lines on their way to a log in memory."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "digits.jsonl"
        self.checkpoint = str(folder / "digits.checkpoint")
        self.log = MemoryLog()
        self.kafka = MemoryProducer(self.log)
        self.store = MemoryMetadataStore()
        self.progress = CountProgress("published", io.StringIO())
        self.pace: Pace | None = None

    def publish(self, lines: bytes, *flags: str) -> Publishing:
        """Publish as the command does with these flags."""
        self.file.write_bytes(lines)
        return self.run(*flags)

    def run(self, *flags: str) -> Publishing:
        """Publish the file as it is."""
        arguments = parsed(str(self.file), *flags)
        source = open_source(arguments)
        checkpoint = None
        if arguments.checkpoint:
            checkpoint = Checkpoint(arguments.checkpoint, "digits", source.identity())
        producer = RecordProducer(self.kafka, self.store, "digits", servable="digits")
        publishing = Publishing(
            arguments, producer, self.store, self.progress, checkpoint, self.pace
        )
        try:
            with suppress(PublishError), producer:  # as the command does
                publishing.run(source)
        finally:
            publishing.window.finish(complete=False)
            source.close()
            if checkpoint is not None:
                checkpoint.close()
        return publishing


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """Return connections of a test's own."""
    return Setup(tmp_path)


def parsed(*words: str) -> argparse.Namespace:
    """Return the arguments of a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*words, "--topic=digits"])


def line(number: int, **changes: Any) -> bytes:
    """Return the line of a record."""
    return orjson.dumps({"id": an_id(number), "instance": number} | changes) + b"\n"


def test_each_line_is_published_with_its_metadata(setup: Setup) -> None:
    """In order, counted when it is acknowledged."""
    publishing = setup.publish(line(1, metadata={"row": 1}) + line(2))

    assert setup.log.ids() == [an_id(1), an_id(2)]
    assert setup.store.content == {an_id(1): b'{"row":1}'}
    assert (publishing.window.skipped, setup.progress.count) == (0, 2)


def test_a_bad_line_ends_the_command_with_its_number(setup: Setup) -> None:
    """What stands before it was published; the file, the line, the key and the remedy are told."""
    with pytest.raises(UsageError, match=r"digits.jsonl:2: instances: .*--skip-invalid"):
        setup.publish(line(1) + b'{"instances": []}\n' + line(3))

    assert setup.log.ids() == [an_id(1)]


def test_bad_lines_may_be_skipped(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of the first is told, all are counted, and the good ones go."""
    bad = b"not json\n" * 30

    publishing = setup.publish(line(1) + bad + line(2), "--skip-invalid")

    assert setup.log.ids() == [an_id(1), an_id(2)]
    assert publishing.window.skipped == 30
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 10
    assert told[0].startswith(f"{setup.file}:2: line: is not JSON")


def test_metadata_needs_a_store_that_answers(setup: Setup) -> None:
    """Said at the first record, rather than when its time has run out."""
    setup.store.fail = lambda: BackendUnavailableError("Redis is not available")

    with pytest.raises(UsageError, match=r"--redis-url: .* redis://127.0.0.1:6379/0 .* start it"):
        setup.publish(line(1, metadata={"row": 1}))

    assert setup.log.ids() == []


def test_records_without_metadata_need_no_store(setup: Setup) -> None:
    """A producer that has none need not run Redis for it."""
    setup.store.fail = lambda: BackendUnavailableError("Redis is not available")

    setup.publish(line(1))

    assert setup.log.ids() == [an_id(1)]


def test_a_record_that_is_not_acknowledged_is_a_failure(setup: Setup) -> None:
    """It is counted out, and told at the end with its place."""
    setup.kafka.fail_send = lambda _: RecordTooLargeError("larger than 1 MiB")

    publishing = setup.publish(line(1))

    assert setup.progress.count == 0
    assert publishing.window.failure is not None
    assert publishing.window.failure[0] == f"{setup.file}:1"


def test_refused_records_may_be_skipped(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    """As invalid ones are; the others go."""
    error = RecordTooLargeError("larger than 1 MiB")
    setup.kafka.fail_send = failing(2, error)
    lines = b"".join(line(n) for n in range(1, 5))

    publishing = setup.publish(lines, "--skip-invalid", f"--checkpoint={setup.checkpoint}")

    assert setup.log.ids() == [an_id(1), an_id(3), an_id(4)]
    assert publishing.window.failure is None
    told = capsys.readouterr().err
    assert "digits.jsonl:2: larger than 1 MiB; make the record smaller, or allow larger" in told
    assert "--kafka-setting max.request.size=BYTES" in told
    state = orjson.loads(Path(setup.checkpoint).read_bytes())
    assert (state["published"], state["skipped"], state["complete"]) == (3, 1, True)


def failing(number: int, error: Exception) -> Any:
    """Return what fails one record's delivery."""

    def fail(sent: OutgoingRecord) -> Exception | None:
        return error if dict(sent.headers)["ce_id"] == an_id(number).encode() else None

    return fail


def test_metadata_of_all_records_is_given_by_flags(setup: Setup) -> None:
    """A record's own says more."""
    setup.publish(
        line(1, metadata={"row": 1, "run": "own"}) + line(2),
        *("--metadata", "run=7", "--metadata", "who=me and you"),
    )

    assert setup.store.content == {
        an_id(1): b'{"run":"own","who":"me and you","row":1}',
        an_id(2): b'{"run":7,"who":"me and you"}',
    }


def test_a_rate_is_kept(setup: Setup) -> None:
    """Each record waits for its turn."""
    slept: list[float] = []
    setup.pace = Pace(4.0, clock=lambda: sum(slept), sleep=slept.append)

    setup.publish(b"".join(line(n) for n in range(9)))

    assert slept == [0.25] * 8


def test_a_limit_ends_it(setup: Setup) -> None:
    """The next command goes on behind it."""
    lines = b"".join(line(n) for n in range(5))

    setup.publish(lines, "--limit=2", f"--checkpoint={setup.checkpoint}")
    assert len(setup.log.ids()) == 2
    setup.run(f"--checkpoint={setup.checkpoint}")

    assert setup.log.ids() == [an_id(n) for n in range(5)]


def test_ids_of_a_checkpoint_are_the_same_in_every_run(setup: Setup) -> None:
    """So that a record that is sent twice is known by its id."""
    lines = b'{"instance": 1}\n{"instance": 2}\n'
    setup.publish(lines, f"--checkpoint={setup.checkpoint}")
    first = setup.log.ids()
    state = Path(setup.checkpoint)
    state.write_text(state.read_text().replace('"position": 2', '"position": 1'))

    setup.run(f"--checkpoint={setup.checkpoint}")

    assert setup.log.ids() == [*first, first[1]]


def test_a_failure_is_where_the_next_command_goes_on(setup: Setup) -> None:
    """What is behind it may be published twice, what is before it is not."""
    setup.kafka.fail_send = failing(3, DeliveryTimeoutError("late"))
    lines = b"".join(line(n) for n in range(1, 6))

    failed = setup.publish(lines, f"--checkpoint={setup.checkpoint}")
    setup.kafka.fail_send = lambda _: None
    publishing = setup.run(f"--checkpoint={setup.checkpoint}")

    assert failed.window.failure is not None
    assert failed.window.failure[0] == f"{setup.file}:3"
    assert publishing.window.failure is None
    ids = setup.log.ids()
    assert set(ids) == {an_id(n) for n in range(1, 6)}
    assert [ids.count(an_id(n)) for n in (1, 2, 3)] == [1, 1, 1]


def test_no_more_is_sent_twice_than_the_window_holds(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed again and again, between any two records: nothing is lost, and repeats are bounded."""
    monkeypatch.setattr(window, "MAX_UNSAVED_ROWS", 10)
    monkeypatch.setattr(window, "SAVE_ROWS", 4)
    monkeypatch.setattr(window, "SAVE_SECONDS", 1e9)
    setup.file.write_bytes(b"".join(line(n) for n in range(100)))
    kills = (13, 29, 31, 7)

    for after in kills:
        setup.pace = KillingPace(after)
        with monkeypatch.context() as patched:
            patched.setattr(Checkpoint, "save", saving_until(setup.pace))
            with pytest.raises(Killed):
                setup.run(f"--checkpoint={setup.checkpoint}")
    setup.pace = None
    setup.run(f"--checkpoint={setup.checkpoint}")

    ids = setup.log.ids()
    assert set(ids) == {an_id(n) for n in range(100)}
    assert 100 < len(ids) <= 100 + len(kills) * 10


class Killed(BaseException):
    """Stands for SIGKILL: nothing is saved after it."""


class KillingPace(Pace):
    """Kills the command before one of its records."""

    def __init__(self, after: int) -> None:
        super().__init__(None)
        self.left = after

    def wait(self, records: int) -> None:
        self.left -= records
        if self.left < 0:
            raise Killed


def saving_until(pace: KillingPace) -> Any:
    """Return a `save` that does nothing once the command is killed."""
    save = Checkpoint.save

    def saving(self: Checkpoint, state: Any) -> None:
        if pace.left >= 0:
            save(self, state)

    return saving
