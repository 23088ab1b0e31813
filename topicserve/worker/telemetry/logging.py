"""The worker's log: one event a line on standard error, as words and key=value, or as JSON.

Whatever is logged, a line is bounded, and so is how often one event is written: what goes wrong a
thousand times a second is told a few times, with a count of the times that were not.
"""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from topicserve.redact import redact_urls
from topicserve.tracing import current_trace_id
from topicserve.worker.config.schema import LogFormat, LoggingConfig

LOGGER = logging.getLogger("topicserve")
MAX_VALUE_CHARACTERS = 1000
MAX_TRACEBACK_CHARACTERS = 8000
BURST = 10
WINDOW_SECONDS = 10.0
# Other libraries' lines: of one template, and of all templates together, in a window.
LIBRARY_BURST = 1
# The servable core's lines: of one text, and of one template, whatever it is filled with.
CORE_BURST = 1
CORE_TEMPLATE_BURST = 500
LIBRARIES_BURST = 10
LIBRARY_WINDOW_SECONDS = 60.0
_CORE = f"{LOGGER.name}."
# What an event is about: ten of its lines are written for each of them.
_SUBJECT = ("servable", "version", "signature")
_ALL = "all"
# librdkafka's lines have one template, and name its instances, threads, brokers and ports. Those
# that differ in names and numbers alone are one line, repeated.
_LIBRDKAFKA = f"{_CORE}backends.confluent.librdkafka"
_VARYING = re.compile(r"\[thrd:[^]]*\]|\S+:\d+\S*|\d+")
_ALL_LIBRARIES = ("", "", _ALL)


def log_event(
    event: str,
    level: int = logging.INFO,
    /,
    *,
    traceback_of: BaseException | None = None,
    **fields: object,
) -> None:
    """Write one line: what happened, in one word, and with what. Any thread may call it.

    The line of an error that is no one's but this program's has its traceback.
    """
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, event, exc_info=traceback_of, extra={"fields": fields})


def configure_logging(
    config: LoggingConfig,
    worker_id: str = "",
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Write the worker's events, and other libraries' warnings, to a stream (default: stderr).

    Where several workers write to one stream, `worker_id` says on each line whose it is.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    lines = JsonLines if config.format is LogFormat.JSON else TextLines
    handler.setFormatter(lines(worker_id))
    handler.addFilter(RepeatLimit(clock))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(config.level.value.upper())


@contextmanager
def libraries_silenced() -> Generator[None]:
    """Write nothing of other libraries' for a while: what they complain of is told by an error."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        root.setLevel(before)


class RepeatLimit(logging.Filter):
    """Lets a few lines of one event through in each window, and counts the others.

    The first line of a later window carries the count as `not_shown`. Of other libraries' lines
    fewer are shown, and few of all of them together: a client that finds no broker writes dozens of
    different ones. Lines about different servables, versions or signatures are counted apart, so
    that each is named.

    Any thread that logs goes through its lock, which is held for some dictionary operations.
    """

    MAX_EVENTS = 1000

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this line is to be written."""
        with self._lock:
            template = (record.name, record.msg)
            fields = getattr(record, "fields", None)
            if fields is not None:
                about = [fields.get(name) for name in _SUBJECT]
                return self._admit(record, (*template, *about), BURST, WINDOW_SECONDS)
            if record.name.startswith(_CORE):
                seconds = LIBRARY_WINDOW_SECONDS
                message = record.getMessage()
                if record.name == _LIBRDKAFKA:
                    message = _VARYING.sub("*", message)
                text = (record.name, message)
                return self._admit(record, text, CORE_BURST, seconds) and self._admit(
                    record, (*template, _ALL), CORE_TEMPLATE_BURST, seconds
                )
            return self._admit(
                record, template, LIBRARY_BURST, LIBRARY_WINDOW_SECONDS
            ) and self._admit(record, _ALL_LIBRARIES, LIBRARIES_BURST, LIBRARY_WINDOW_SECONDS)

    def _admit(
        self, record: logging.LogRecord, key: tuple[object, ...], burst: int, seconds: float
    ) -> bool:
        now = self._clock()
        start, count = self._windows.get(key, (now, 0))
        if now - start >= seconds:
            if count > burst:
                record.not_shown = getattr(record, "not_shown", 0) + count - burst
            start, count = now, 0
        if len(self._windows) >= self.MAX_EVENTS and key not in self._windows:
            # Of those that count many different lines there are as many as the code has templates.
            self._windows = {one: seen for one, seen in self._windows.items() if one[-1] == _ALL}
        self._windows[key] = (start, count + 1)
        return count < burst


class Lines(logging.Formatter):
    """A line of which every worker's own fields are part."""

    def __init__(self, worker_id: str = "") -> None:
        super().__init__()
        self._worker_id = worker_id

    def fields(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        """Yield a line's fields, in order."""
        if self._worker_id:
            yield "worker_id", self._worker_id
        if hasattr(record, "fields"):
            yield from record.fields.items()
        else:
            yield "logger", record.name
            yield "message", record.getMessage()
        if "trace_id" not in getattr(record, "fields", ()) and (trace_id := current_trace_id()):
            yield "trace_id", trace_id
        if hasattr(record, "not_shown"):
            yield "not_shown", record.not_shown
        if record.exc_info:
            # The end of a traceback says what was raised.
            trace = redact_urls(self.formatException(record.exc_info))
            yield "traceback", _Whole(trace[-MAX_TRACEBACK_CHARACTERS:])


class TextLines(Lines):
    """`2026-01-02T03:04:05.678Z INFO partitions_assigned partitions="digits-0 digits-1"`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        pairs = (f" {name}={_quoted(_text(value))}" for name, value in self.fields(record))
        return f"{_time(record)} {record.levelname} {_event(record)}{''.join(pairs)}"


class JsonLines(Lines):
    """The same as one JSON object, with `time`, `level` and `event` first."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "event": _event(record),
        }
        for name, value in self.fields(record):
            # A field never hides what every line has.
            line[f"{name}_" if name in line else name] = (
                value if isinstance(value, (bool, int, float)) else _text(value)
            )
        text = json.dumps(line, ensure_ascii=False)
        # What producers chose must not change the terminal that shows the log.
        return text if text.isprintable() else json.dumps(line)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _event(record: logging.LogRecord) -> str:
    """Return our event's name; another library's lines are all one event."""
    return str(record.msg) if hasattr(record, "fields") else "library_message"


class _Whole(str):
    """Text that has been cut already."""

    __slots__ = ()


def _text(value: object) -> str:
    text = redact_urls(str(value))  # before it is cut: half a URL does not show that it is one
    if isinstance(value, _Whole) or len(text) <= MAX_VALUE_CHARACTERS:
        return text
    return text[:MAX_VALUE_CHARACTERS] + "..."


def _quoted(text: str) -> str:
    """Return a value as it stands where that is plain, or else in JSON's quotes, on one line."""
    if text and text.isprintable() and not set(text) & set(' ="'):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
