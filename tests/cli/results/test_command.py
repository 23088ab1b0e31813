import argparse
import base64
import io
import re

import numpy as np
import orjson
import pytest

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.stages.fakes import ReadConsumer
from tests.support.stages.records import a_kafka_record, an_id
from topicserve.backends.broker import Offsets
from topicserve.backends.errors import (
    BackendUnavailableError,
    CommitRefusedError,
    FencedError,
)
from topicserve.cli.errors import UsageError
from topicserve.cli.progress import CountProgress
from topicserve.cli.results import command as results
from topicserve.cli.results.command import add_arguments, print_lines
from topicserve.cli.results.lines import line_of
from topicserve.cli.results.unread import InvalidRecords, UnreadResults
from topicserve.producer.result_reader import DeadLetterReader, ResultReader
from topicserve.wire.bodies.json_body import JSON
from topicserve.wire.dead_letter import DeadLetter, Reason, encode_dead_letter
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.headers import ServableSpec
from topicserve.wire.input_record import InputRecord
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.wire.result import Metadata, MetadataStatus, Result, decode_result
from topicserve.wire.result_encoder import Origin, encode_results

P0 = TopicPartition("results", 0)


def polled(number: int) -> KafkaRecord:
    """Return the result of a record with this number, as it is polled at this offset."""
    record = InputRecord(an_id(number), ServableSpec(), Form.INSTANCE, None, 1, JSON)
    metadata = Metadata(MetadataStatus.FOUND, b'{"row":7}')
    origin = Origin("digits", 3, "serving_default", "worker-1")
    outputs = {"y": np.array([number])}
    (sent,) = encode_results("results", origin, [record], [b"key"], outputs, [metadata])
    return KafkaRecord(*P0, number, 1700, sent.key, sent.value, sent.headers)


def parsed(*flags: str) -> argparse.Namespace:
    """Return the arguments of a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--topic=results", *flags])


def a_consumer(count: int) -> ReadConsumer:
    """Return a consumer of so many results that knows when it has read them all."""
    consumer = ReadConsumer(MemoryLog([polled(number) for number in range(count)]), P0)
    consumer.lag_records = {P0: 0}
    return consumer


def printed(consumer: ReadConsumer, *flags: str) -> int:
    """Print as the command does with these flags, and return how many were counted."""
    progress = CountProgress("read", io.StringIO())
    print_lines(parsed(*flags), ResultReader(consumer, "results"), progress)
    return progress.count


def test_everything_that_is_there_is_printed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """One JSON object a line, and then the command ends."""
    count = printed(a_consumer(3))

    lines = [orjson.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert count == 3
    assert [line["prediction"] for line in lines] == [0, 1, 2]
    assert lines[2] == {
        "id": an_id(2),
        "servable": {"name": "digits", "version": 3},
        "signature_name": "serving_default",
        "prediction": 2,
        "metadata": {"row": 7},
        "metadata_status": "found",
        "worker": "worker-1",
        "partition": 0,
        "offset": 2,
        "timestamp_ms": 1700,
        "key": "key",
    }


def test_a_limit_ends_the_command() -> None:
    """Also in the middle of what was polled, and while following."""
    assert printed(a_consumer(3), "--limit=2") == 2
    assert printed(a_consumer(3), "--limit=2", "--follow") == 2


def test_rounds_go_on_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many results make a round."""
    monkeypatch.setattr(results, "ROUND_RECORDS", 2)

    assert printed(a_consumer(4)) == 4
    assert printed(a_consumer(5)) == 5


def test_a_group_commits_what_it_has_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round by round, so that little is printed twice after an end that no one foresaw."""
    monkeypatch.setattr(results, "ROUND_RECORDS", 2)
    consumer = a_consumer(5)
    commits: list[Offsets] = []
    consumer.commit = lambda offsets, timeout_seconds: commits.append(offsets)  # type: ignore[method-assign]  # noqa: ARG005

    printed(consumer, "--group=g")

    assert commits == [{P0: 2}, {P0: 4}, {P0: 5}]


def test_without_a_group_nothing_is_committed() -> None:
    """Reading leaves no trace."""
    consumer = a_consumer(5)

    printed(consumer)

    assert consumer.log.committed == {}


def test_a_commit_that_is_refused_does_not_end_the_command() -> None:
    """The partitions went to another member, which prints these results again."""
    consumer = a_consumer(2)
    consumer.commit_error = CommitRefusedError("moved on")

    assert printed(consumer, "--group=g") == 2


class FailingReader(ResultReader):
    """Raises an error in the place of one record, each time."""

    def __init__(self, consumer: ReadConsumer, at: int, error: Exception) -> None:
        super().__init__(consumer, "results")
        self._at, self._error = at, error

    def next_polled(self) -> Result | None:
        """Return the next result, or raise."""
        if self.polled[0].offset == self._at:
            raise self._error
        return super().next_polled()


def printed_until(error: Exception, consumer: ReadConsumer, *flags: str) -> None:
    """Print as the command does until the fourth record, which ends it with this error."""
    with pytest.raises(type(error), match=re.escape(str(error))):
        print_lines(
            parsed(*flags),
            FailingReader(consumer, 3, error),
            CountProgress("read", io.StringIO()),
        )


@pytest.mark.parametrize(
    "error", [BackendUnavailableError("away"), FencedError("gone"), ValueError("a bug")]
)
def test_a_group_commits_what_it_has_printed_before_an_error(
    error: Exception, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The next run begins with what could not be read, whatever the error."""
    consumer = a_consumer(5)

    printed_until(error, consumer, "--group=g")

    assert consumer.log.committed == {P0: 3}
    assert len(capfdbinary.readouterr().out.splitlines()) == 3


def test_without_a_group_an_error_commits_nothing() -> None:
    """Reading leaves no trace."""
    consumer = a_consumer(5)

    printed_until(BackendUnavailableError("away"), consumer)

    assert consumer.log.committed == {}


def test_the_first_error_is_told_where_a_commit_fails_too() -> None:
    """It is the cause."""
    consumer = a_consumer(5)
    consumer.commit_error = BackendUnavailableError("no commit either")

    printed_until(BackendUnavailableError("away"), consumer, "--group=g")


def test_what_cannot_be_printed_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much of a round was written is not known then: the next run prints it again."""
    consumer = a_consumer(5)
    written: list[bytes] = []

    def write(data: bytes, *, flush: bool = False) -> None:  # noqa: ARG001 - as write_output
        if len(written) == 3:
            raise UsageError("standard output: No space left on device")
        written.append(data)

    monkeypatch.setattr(results, "write_output", write)

    with pytest.raises(UsageError, match="No space left"):
        printed(consumer, "--group=g")

    assert consumer.log.committed == {}


def test_dead_letters_are_printed_with_their_reason() -> None:
    """The record as it was, text as text, the rest as base64."""
    record = a_kafka_record(7, key=b"\xff")

    line = line_of(DeadLetter(record, Reason.INVALID_INPUT, "builtins.ValueError", "too long"))

    content = orjson.loads(line)
    assert line.endswith(b"\n")
    assert (content["reason"], content["message"]) == ("invalid_input", "too long")
    assert (content["topic"], content["offset"]) == ("in", 7)
    assert content["key"] == {"b64": base64.b64encode(b"\xff").decode()}
    assert orjson.loads(content["value"]) == {"instance": 1.0}
    assert ["ce_source", "/tests"] in content["headers"]


def test_tensors_are_printed_as_outputs() -> None:
    """Arrays as lists, under the name that TF Serving gives to columns."""
    result = decode_result(polled(1))
    tensors = {name: getattr(result, name) for name in Result.__dataclass_fields__} | {
        "form": Form.TENSORS,
        "value": {"y": np.array([[0.5]], np.float32)},
    }

    assert orjson.loads(line_of(Result(**tensors)))["outputs"] == {"y": [[0.5]]}


def test_records_that_are_no_results_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Where they are and what is wrong; the first ones, and all are counted."""
    invalid = InvalidRecords()

    for offset in range(30):
        invalid.tell(a_kafka_record(offset), InvalidRecordError("ce_type", "must be a result"))

    told = capsys.readouterr().err.splitlines()
    assert invalid.count == 30
    assert len(told) == 10
    assert told[3] == "passed over in-0 offset 3: ce_type: must be a result"


def test_the_reader_is_the_one_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead letters and results have different shapes; filters are passed on."""
    monkeypatch.setattr(results, "open_consumer", lambda *_: a_consumer(1))
    ignore = UnreadResults(skips_unavailable=False)

    letters = results.open_reader(parsed("--dead-letters"), ignore)
    wanted = results.open_reader(parsed("--version=4", "--metadata-status=found"), ignore)

    assert isinstance(letters, DeadLetterReader)
    assert not isinstance(wanted, DeadLetterReader)
    assert list(wanted.read(until_end=True)) == []


def test_dead_letters_are_filtered_by_the_servable_that_they_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the record's own header, which stays in the dead letter."""
    records = []
    for offset, headers in enumerate([[("ce_servable", b"digits")], [("ce_servable", b"x")], []]):
        record = a_kafka_record(offset, headers=headers)
        sent = encode_dead_letter(DeadLetter(record, Reason.INVALID_INPUT, "e", "m"), "dead")
        records.append(KafkaRecord(*P0, offset, 0, sent.key, sent.value, sent.headers))
    consumer = ReadConsumer(MemoryLog(records), P0)
    consumer.lag_records = {P0: 0}
    monkeypatch.setattr(results, "open_consumer", lambda *_: consumer)
    asked = parsed("--dead-letters", "--servable=digits")

    read = list(
        results.open_reader(asked, UnreadResults(skips_unavailable=False)).read(until_end=True)
    )

    assert [item.record.offset for item in read] == [0]


@pytest.mark.parametrize("flag", ["--version=1", "--version=0", "--metadata-status=found"])
def test_filters_that_no_dead_letter_has_are_refused(flag: str) -> None:
    """Nothing is left out without a word."""
    with pytest.raises(UsageError, match=flag.partition("=")[0]):
        results.run(parsed("--dead-letters", flag))


def a_shadow_record(value: bytes, version: bytes = b"2") -> KafkaRecord:
    """Return a record of the shadow topic."""
    headers = [("ce_type", b"topicserve.shadow"), ("ce_servableversion", version)]
    return KafkaRecord(*P0, 7, 1700, b"key", value, headers)


def test_a_shadows_records_are_printed_with_both_answers(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The same command reads the shadow topic; filters hold for its headers, too."""
    primary, shadow = orjson.loads(polled(1).value or b""), orjson.loads(polled(2).value or b"")
    body = orjson.dumps({"id": an_id(1), "primary": primary, "shadow": shadow})
    log = MemoryLog([a_shadow_record(body), a_shadow_record(body, version=b"9")])
    consumer = ReadConsumer(log, P0)
    consumer.lag_records = {P0: 0}
    monkeypatch.setattr(results, "open_consumer", lambda *_: consumer)
    invalid = UnreadResults(skips_unavailable=False)

    reader = results.open_reader(parsed("--version=2"), invalid)
    print_lines(parsed("--version=2"), reader, CountProgress("read", io.StringIO()))

    (line,) = capfdbinary.readouterr().out.splitlines()
    assert orjson.loads(line) == {
        "id": an_id(1),
        "primary": primary,
        "shadow": shadow,
        "partition": 0,
        "offset": 7,
        "timestamp_ms": 1700,
        "key": "key",
    }
    assert invalid.count == 0


def test_what_a_body_of_a_users_own_wrote_is_printed_as_base64() -> None:
    """It may be anything; the rest stands in the headers."""
    headers: list[tuple[str, bytes | None]] = [
        *(
            ("ce_type", b"topicserve.result"),
            ("ce_id", b"7"),
            ("content-type", b"application/avro"),
        ),
        *(("ce_servable", b"digits"), ("ce_servableversion", b"3")),
        *(("topicserve-metadata-status", b"found"), ("topicserve-metadata", b'{"row":7}')),
    ]

    line = orjson.loads(line_of(decode_result(KafkaRecord(*P0, 0, 0, None, b"\xff\x00", headers))))

    assert line["outputs"] == {"b64": "/wA="}
    assert (line["id"], line["servable"]["version"], line["metadata"]) == ("7", 3, {"row": 7})
