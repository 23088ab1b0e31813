"""What topics tell of the last while: dead letters by reason, and which worker answered by what."""

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson

from topicserve.backends.broker import LogOffsets, Offsets, OffsetsAdmin
from topicserve.backends.errors import BackendError
from topicserve.cli import connection
from topicserve.cli.dead_letters.scan import Scan
from topicserve.cli.status.flags import Deployment
from topicserve.producer.result_reader import open_consumer
from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import REASON_HEADER
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.wire.result import text_headers

LAST_RESULTS = 100
"""Of each partition."""
TIMEOUT_SECONDS = 10.0


@dataclass(slots=True)
class Recent:
    """Counts of what was read."""

    reasons: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    """By worker: how many of the last results each `NAME version N` gave."""
    problem: str = ""
    """Why it is not all."""

    def content(self) -> dict[str, Any]:
        """Return it as a script has it."""
        return {
            "dead_letters": dict(self.reasons.most_common()),
            "last_results": {worker: dict(n) for worker, n in sorted(self.answers.items())},
        }


def read_recent(
    admin: OffsetsAdmin,
    deployment: Deployment,
    dead_letters: Mapping[TopicPartition, LogOffsets],
    output: Mapping[TopicPartition, LogOffsets],
) -> Recent:
    """Read both topics' ends. A topic that cannot be read is a problem, and no error.

    Both at once, on two threads: forming the group through which a topic is read takes most of the
    time, up to 10 seconds.
    """
    recent = Recent()
    letters_from = _starts_at_time(admin, deployment)(dead_letters) if dead_letters else {}

    def note_reasons() -> None:
        for record in _read(deployment, dead_letters, letters_from):
            reason = dict(record.headers).get(REASON_HEADER)
            recent.reasons[(reason or b"-").decode(errors="replace")] += 1

    def note_answers() -> None:
        for record in _read(deployment, output, _starts_before_end(output)):
            _note_answer(recent, record)

    # At once: forming the group through which a topic is read takes most of the time.
    with ThreadPoolExecutor(2) as pool:
        for reading in [pool.submit(note_reasons), pool.submit(note_answers)]:
            try:
                reading.result()
            except BackendError as error:
                recent.problem = str(error)
    return recent


Starts = Callable[[Mapping[TopicPartition, LogOffsets]], Offsets]


def _starts_at_time(admin: OffsetsAdmin, deployment: Deployment) -> Starts:
    def starts(log: Mapping[TopicPartition, LogOffsets]) -> Offsets:
        since_ms = int(deployment.since.timestamp() * 1000)
        found = admin.offsets_at_time(list(log), since_ms, connection.REACH_SECONDS)
        return {p: log[p].end if offset is None else offset for p, offset in found.items()}

    return starts


def _starts_before_end(log: Mapping[TopicPartition, LogOffsets]) -> Offsets:
    return {p: max(offsets.start, offsets.end - LAST_RESULTS) for p, offsets in log.items()}


def _read(
    deployment: Deployment, log: Mapping[TopicPartition, LogOffsets], starts: Offsets
) -> Generator[KafkaRecord]:
    """Yield the records from the starts to the end of now."""
    ends = {p: offsets.end if starts[p] < offsets.end else 0 for p, offsets in log.items()}
    if not any(ends.values()):
        return
    (topic,) = {partition.topic for partition in log}

    def begin(new: Sequence[TopicPartition]) -> Offsets:
        return {p: starts[p] for p in new if ends.get(p)}

    consumer = open_consumer(
        deployment.bootstrap_servers, None, deployment.client, deployment.settings
    )
    try:
        scan = Scan(consumer, topic, ends, timeout_seconds=TIMEOUT_SECONDS, starts=begin)
        for records in scan.read():
            yield from records
    finally:
        consumer.close(connection.REACH_SECONDS)


def _note_answer(recent: Recent, record: KafkaRecord) -> None:
    headers = text_headers(record.headers)
    if headers.get(names.TYPE) != names.RESULT_TYPE:
        return
    worker = headers.get(names.WORKER) or _worker_of(record)
    answer = f"{headers.get(names.SERVABLE)} version {headers.get(names.SERVABLE_VERSION)}"
    recent.answers.setdefault(worker, Counter())[answer] += 1


def _worker_of(record: KafkaRecord) -> str:
    """Return the member `worker` of a JSON result."""
    try:
        return str(orjson.loads(record.value or b"")["worker"])
    except (ValueError, KeyError, TypeError):
        return "-"
