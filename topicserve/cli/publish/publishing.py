"""Publishes the rows of a source, one after another.

The thread that reads the source publishes, too; the producer's own threads send and acknowledge.
"""

import argparse
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec

from topicserve.backends.errors import RecordTooLargeError
from topicserve.backends.metadata_store import MetadataStore
from topicserve.cli.connection import need_store
from topicserve.cli.errors import UsageError
from topicserve.cli.pace import Pace
from topicserve.cli.progress import CountProgress
from topicserve.cli.publish.checkpoint import Checkpoint
from topicserve.cli.publish.rows import MAX_TOLD, Position, Row, RowSource
from topicserve.cli.publish.window import Window
from topicserve.cli.terminal import say
from topicserve.producer.errors import PublishError
from topicserve.producer.publish_future import PublishFuture
from topicserve.producer.record import Record, StoredElsewhere
from topicserve.producer.record_producer import RecordProducer
from topicserve.wire.errors import InvalidRecordError

_TOO_LARGE = (
    "make the record smaller, or allow larger ones: --kafka-setting max.request.size=BYTES, and "
    "max.message.bytes of the topic (message.max.bytes of the broker)"
)


class Publishing:
    """One pass over a source. `window` has what became of it.

    What the flags add to all records is merged in here: metadata, and ids that come from the
    checkpoint. The store is asked once, before the first record that has metadata.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        producer: RecordProducer,
        store: MetadataStore,
        progress: CountProgress,
        checkpoint: Checkpoint | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._arguments = arguments
        self._producer = producer
        self._store = store
        self._progress = progress
        self._checkpoint = checkpoint
        self._pace = pace or Pace(arguments.rate)
        self._metadata = metadata_of(arguments)
        self._store_answers = False
        self._told = 0
        self.window = Window(checkpoint, on_refused=self._tell if arguments.skip_invalid else None)

    def run(self, source: RowSource) -> None:
        """Publish the rows behind the checkpoint, and wait until all are acknowledged.

        Raises UsageError for an invalid row, unless they are skipped. The first row that fails ends
        it, too: `window.failure` has it.
        """
        start: Position | None = self._checkpoint.state.position if self._checkpoint else None
        is_complete = False
        try:
            rows = source.rows(start)
            for row in islice(rows, self._arguments.limit):
                self.window.add(row, self._publish(row))
                if self.window.failure is not None:
                    return
            with suppress(PublishError):  # the window knows which row it is, and if it is skipped
                self._producer.flush()
            is_complete = next(rows, None) is None if self._arguments.limit else True
        finally:
            self.window.finish(complete=is_complete)

    def _publish(self, row: Row) -> PublishFuture | None:
        """Return the future of a row's record; None for one that is invalid and skipped."""
        try:
            if isinstance(row.record, InvalidRecordError):
                raise row.record
            record = self._completed(row.record, row.position)
            self._pace.wait(1)
            future = self._producer.publish(record)
        except InvalidRecordError as error:
            if not self._arguments.skip_invalid:
                raise UsageError(
                    f"{row.place}: {error}; correct it, or pass --skip-invalid"
                ) from error
            self._tell(row.place, error)
            return None
        future.add_done_callback(self._progress.count_future)
        return future

    def _completed(self, record: Record, position: Position) -> Record:
        """Return the record with what the flags and the checkpoint say."""
        changes: dict[str, Any] = {}
        if self._metadata:
            own = record.metadata
            if isinstance(own, StoredElsewhere):
                raise InvalidRecordError("metadata", "is stored elsewhere, and given by --metadata")
            if own is None or isinstance(own, dict):
                changes["metadata"] = self._metadata | (own or {})
        if self._checkpoint is not None and record.record_id is None:
            changes["record_id"] = self._checkpoint.record_id(position)
        if isinstance(changes.get("metadata", record.metadata), dict) and not self._store_answers:
            # Said now, rather than of each record when its time has run out.
            need_store(self._arguments, self._store)
            self._store_answers = True
        return replace(record, **changes) if changes else record

    def _tell(self, place: str, error: Exception) -> None:
        self._told += 1
        if self._told <= MAX_TOLD:
            say(f"{place}: {problem_of(error)}")


def problem_of(error: BaseException) -> str:
    """Return why a record was not published, with the remedy where the error has none."""
    return f"{error}; {_TOO_LARGE}" if isinstance(error, RecordTooLargeError) else str(error)


def metadata_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the metadata that all records have. Raises UsageError."""
    metadata: dict[str, Any] = {}
    for typed in arguments.metadata:
        name, equals, text = typed.partition("=")
        if not name or not equals:
            raise UsageError("--metadata: must be NAME=VALUE; one of them is not")
        try:
            metadata[name] = msgspec.json.decode(text)
        except ValueError:
            metadata[name] = text
    return metadata
