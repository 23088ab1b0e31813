import argparse
import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.fakes import MemoryMetadataStore
from tests.support.stages.records import an_id
from topicserve.backends.errors import BackendUnavailableError, RecordTooLargeError
from topicserve.cli.errors import UsageError
from topicserve.cli.progress import CountProgress
from topicserve.cli.publish import add_arguments, opened, publish_lines
from topicserve.producer.errors import PublishError
from topicserve.producer.record_producer import RecordProducer


class Setup:
    """A file's lines on their way to a log in memory."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.kafka = MemoryProducer(self.log)
        self.store = MemoryMetadataStore()
        self.progress = CountProgress("published", io.StringIO())

    def publish(self, lines: bytes, *flags: str) -> int:
        """Publish as the command does with these flags."""
        producer = RecordProducer(self.kafka, self.store, "digits", servable="digits")
        with producer:
            return publish_lines(
                parsed(*flags), io.BytesIO(lines), producer, self.store, self.progress
            )


@pytest.fixture
def setup() -> Setup:
    """Return connections of a test's own."""
    return Setup()


def parsed(*flags: str) -> argparse.Namespace:
    """Return the arguments of a command line for digits.jsonl."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["digits.jsonl", "--topic=digits", *flags])


def line(number: int, **changes: Any) -> bytes:
    """Return the line of a record."""
    return orjson.dumps({"id": an_id(number), "instance": number} | changes) + b"\n"


def test_each_line_is_published_with_its_metadata(setup: Setup) -> None:
    """In order, counted when it is acknowledged."""
    skipped = setup.publish(line(1, metadata={"row": 1}) + line(2))

    assert setup.log.ids() == [an_id(1), an_id(2)]
    assert setup.store.content == {an_id(1): b'{"row":1}'}
    assert (skipped, setup.progress.count) == (0, 2)


def test_a_bad_line_ends_the_command_with_its_number(setup: Setup) -> None:
    """What stands before it was published; the file, the line, the key and the remedy are told."""
    with pytest.raises(UsageError, match=r"^digits.jsonl:2: instances: .*--skip-invalid"):
        setup.publish(line(1) + b'{"instances": []}\n' + line(3))

    assert setup.log.ids() == [an_id(1)]


def test_bad_lines_may_be_skipped(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of the first is told, all are counted, and the good ones go."""
    bad = b"not json\n" * 30

    skipped = setup.publish(line(1) + bad + line(2), "--skip-invalid")

    assert setup.log.ids() == [an_id(1), an_id(2)]
    assert skipped == 30
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 10
    assert told[0].startswith("digits.jsonl:2: line: is not JSON")


def test_metadata_needs_a_store_that_answers(setup: Setup) -> None:
    """Said at the first record, rather than when its time has run out."""
    setup.store.fail = lambda: BackendUnavailableError("Redis is not available")

    with pytest.raises(UsageError, match=r"--redis-url: .* redis://127.0.0.1:6379 .* start it"):
        setup.publish(line(1, metadata={"row": 1}))

    assert setup.log.ids() == []


def test_records_without_metadata_need_no_store(setup: Setup) -> None:
    """A producer that has none need not run Redis for it."""
    setup.store.fail = lambda: BackendUnavailableError("Redis is not available")

    setup.publish(line(1))

    assert setup.log.ids() == [an_id(1)]


def test_a_record_that_is_not_acknowledged_fails_the_command(setup: Setup) -> None:
    """It is counted out, and told at the end."""
    setup.kafka.fail_send = lambda _: RecordTooLargeError("larger than 1 MiB")

    with pytest.raises(PublishError, match="1 MiB"):
        setup.publish(line(1))

    assert setup.progress.count == 0


@pytest.mark.parametrize("name", ["no-such-file.jsonl", "."])
def test_a_file_that_cannot_be_read_is_named(name: str) -> None:
    """With the remedy."""
    with pytest.raises(UsageError, match="JSON Lines file"):
        opened(name)


def test_a_file_is_read_as_bytes(tmp_path: Path) -> None:
    """Whatever the machine's locale is."""
    path = tmp_path / "digits.jsonl"
    path.write_bytes(line(1))

    with opened(str(path)) as file:
        assert file.read() == line(1)
