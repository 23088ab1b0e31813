"""`topicserve dead-letters show`: one dead letter, all of it."""

import argparse
import base64
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

import msgspec

from topicserve.backends.broker import Offsets
from topicserve.cli.dead_letters.entry import DeadLetterEntry, decode_entry, time_text
from topicserve.cli.dead_letters.filters import Places, read_places
from topicserve.cli.dead_letters.topic import (
    add_topic_arguments,
    ends_of,
    log_offsets_of,
    scan_all,
)
from topicserve.cli.errors import UsageError
from topicserve.cli.results.lines import dead_letter_object
from topicserve.cli.standard_streams import need_output, write_output
from topicserve.cli.terminal import counted, say, write_json, write_line
from topicserve.printable import printable
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.wire.record_id import canonical_record_id

EXAMPLE = "example: topicserve dead-letters show 0:17 --topic digits.dead-letter"
ENCODINGS = ("hex", "base64")
_LINE = 76


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "which", metavar="P:N|ID", help="partition:offset in the dead-letter topic, or a record id"
    )
    add_topic_arguments(parser)
    parser.add_argument(
        "--bytes",
        choices=ENCODINGS,
        default=ENCODINGS[0],
        help="how a body that is no JSON is printed (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the dead letter that is asked for; of several with one id, the newest.

    UsageError where there is none. Text for a person, or with --json what `results --dead-letters`
    prints, with the id and the place.
    """
    need_output()
    found = find(arguments)
    entry = found[-1]
    if len(found) > 1:
        others = ", ".join(other.place for other in found[:-1])
        say(f"the newest of several with this id; the others: {others}")
    if arguments.json:
        place = {"partition": entry.record.partition, "offset": entry.record.offset}
        content = {"id": entry.record_id, "place": place, **dead_letter_object(entry.letter)}
        write_json(content, flush=True)
        return 0
    for line in lines_of(entry, arguments.bytes):
        write_line(line)
    write_output(b"", flush=True)
    return 0


def find(arguments: argparse.Namespace) -> list[DeadLetterEntry]:
    """Return the dead letters that are meant, in the order read; UsageError without any.

    An offset is sought and read alone. An id is looked for in the whole topic, oldest first.
    """
    offsets = log_offsets_of(arguments)
    ends = ends_of(offsets)
    if not re.fullmatch(r"[0-9]+:[0-9]+", arguments.which, re.ASCII):
        record_id = _canonical(arguments.which)
        entries = _by_id(scan_all(arguments, ends), record_id)
        if not entries:
            raise UsageError(f"no dead letter in {arguments.topic} has the id {record_id!r}")
        return entries
    places = read_places(arguments.which)
    partition = TopicPartition(arguments.topic, places.partition)
    log = offsets.get(partition)
    if log is None or not log.start <= places.first < log.end:
        known = ", ".join(f"{p.partition}:{o.start}-{o.end - 1}" for p, o in offsets.items())
        raise UsageError(f"{arguments.topic} has no offset {arguments.which}; it has {known}")
    only = {p: places.first + 1 if p == partition else 0 for p in ends}
    records = scan_all(arguments, only, _starts(partition, places))
    with closing(records):
        record = next(records, None)
    if record is None or record.offset != places.first:
        raise UsageError(f"{arguments.topic} has no record at offset {arguments.which}")
    try:
        return [decode_entry(record)]
    except InvalidRecordError as error:
        raise UsageError(f"offset {arguments.which}: {error}") from error


def lines_of(entry: DeadLetterEntry, encoding: str) -> Iterable[str]:
    """Yield the dead letter for a person: the error first, then where it came from, then all.

    Every text in it is a producer's, so each line is made printable.
    """
    letter, original = entry.letter, entry.letter.record
    yield f"reason     {entry.reason}"
    yield f"error      {printable(letter.exception)}"
    yield f"message    {printable(letter.message)}"
    yield f"id         {printable(entry.record_id or '-')}"
    yield f"servable   {printable(entry.servable or '-')}"
    yield f"given up   {time_text(entry.record.timestamp_ms) or '-'}  at {entry.place}"
    came = f"partition {original.partition} offset {original.offset}"
    yield f"came from  {printable(original.topic)} {came}"
    yield f"published  {time_text(original.timestamp_ms) or '-'}"
    if letter.truncated:
        yield f"truncated  {printable(letter.truncated)}: cannot be replayed from here"
    yield f"key        {_short(original.key)}"
    yield "headers"
    for name, value in original.headers:
        yield f"  {printable(name)}: {_short(value)}"
    yield from body_lines(original.value, encoding)


def body_lines(value: bytes | None, encoding: str) -> Iterable[str]:
    """Yield a body: JSON indented, anything else in hex or base64; its length first."""
    if value is None:
        yield "body       null"
        return
    pretty = _pretty(value)
    form = "JSON" if pretty is not None else encoding
    yield f"body       {counted(len(value), 'byte')}, as {form}"
    if pretty is not None:
        yield from (printable(line) for line in pretty.splitlines())
    else:
        text = value.hex() if encoding == "hex" else base64.b64encode(value).decode()
        yield from textwrap.wrap(text, _LINE)


def _by_id(records: Iterable[KafkaRecord], record_id: str) -> list[DeadLetterEntry]:
    found = []
    for record in records:
        try:
            entry = decode_entry(record)
        except InvalidRecordError:
            continue
        if entry.record_id == record_id:
            found.append(entry)
    return sorted(found, key=lambda entry: entry.record.timestamp_ms)


def _canonical(typed: str) -> str:
    try:
        return canonical_record_id(typed)
    except ValueError as error:
        raise UsageError(f"{typed[:64]!r}: {error}; or PARTITION:OFFSET") from None


def _starts(
    partition: TopicPartition, places: Places
) -> Callable[[Sequence[TopicPartition]], Offsets]:
    return lambda new: {partition: places.first} if partition in new else {}


def _pretty(value: bytes) -> str | None:
    """Return JSON as it is, but for white space; None for what is no JSON.

    Its numbers, names and strings stay as they were written: one of them may be the fault.
    """
    try:
        text = value.decode()
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    try:
        return msgspec.json.format(value, indent=2).decode()
    except (msgspec.DecodeError, RecursionError):  # NaN, which TensorFlow Serving takes
        return text


def _short(value: bytes | None) -> str:
    """Return a header or a key: text, or hex where it is none."""
    if value is None:
        return "null"
    try:
        return printable(value.decode())
    except UnicodeDecodeError:
        return f"0x{value.hex()} ({counted(len(value), 'byte')})"
