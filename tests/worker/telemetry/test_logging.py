import io
import json
import logging

from topicserve.worker.config.schema import LogFormat, LoggingConfig, LogLevel
from topicserve.worker.telemetry.logging import (
    BURST,
    CORE_TEMPLATE_BURST,
    LIBRARIES_BURST,
    LIBRARY_BURST,
    LIBRARY_WINDOW_SECONDS,
    LOGGER,
    MAX_TRACEBACK_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    WINDOW_SECONDS,
    RepeatLimit,
    configure_logging,
    libraries_silenced,
    log_event,
)


class ManualClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def log_to(
    clock: ManualClock | None = None,
    line_format: LogFormat = LogFormat.TEXT,
    level: LogLevel = LogLevel.INFO,
    worker_id: str = "",
) -> io.StringIO:
    """Return the stream that the log goes to from here on."""
    stream = io.StringIO()
    configure_logging(
        LoggingConfig(level=level, format=line_format), worker_id, stream, clock or ManualClock()
    )
    return stream


def without_time(stream: io.StringIO) -> list[str]:
    """Return the lines without the time that each begins with."""
    return [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_words() -> None:
    """Plain values stand bare; others are quoted, so that a line can be taken apart again."""
    stream = log_to()

    log_event("partitions_assigned", partitions="digits-0, digits-1", count=2, empty="")

    assert without_time(stream) == [
        'INFO partitions_assigned partitions="digits-0, digits-1" count=2 empty=""'
    ]


def test_a_line_begins_with_the_time_in_utc() -> None:
    """Milliseconds and Z, as RFC 3339 has it."""
    stream = log_to()
    record = LOGGER.makeRecord(LOGGER.name, logging.INFO, "", 0, "started", (), None)
    record.fields = {}
    record.created = 1_767_323_045.678

    LOGGER.handle(record)

    assert stream.getvalue() == "2026-01-02T03:04:05.678Z INFO started\n"


def test_no_value_can_begin_a_line_of_its_own() -> None:
    """Line ends and terminal escapes come out escaped: no one forges a line of the log."""
    stream = log_to()

    log_event("record_rejected", problem="a\n2026 INFO forged\x1b[31m\u2028b")

    assert without_time(stream) == [
        r'INFO record_rejected problem="a\n2026 INFO forged\u001b[31m\u2028b"'
    ]


def test_json_lines_keep_numbers_and_never_lose_their_own_fields() -> None:
    """A field called like one that each line has gets an underscore."""
    stream = log_to(line_format=LogFormat.JSON)

    log_event("stuck", logging.WARNING, seconds=2.5, open=True, event="mine", why=ValueError("x"))

    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "event": "stuck",
        "seconds": 2.5,
        "open": True,
        "event_": "mine",
        "why": "x",
    }


def test_json_lines_are_printable_with_the_same_content() -> None:
    """What a producer chose cannot change the terminal that shows the log; other text stays."""
    stream = log_to(line_format=LogFormat.JSON)
    problem = "a\x1b[31m \x9b31m \u202e \x7f \u2028b"

    log_event("record_rejected", problem=problem)
    log_event("record_rejected", problem="für")

    hostile, plain = stream.getvalue().split("\n")[:2]
    assert hostile.isprintable()
    assert json.loads(hostile)["problem"] == problem
    assert '"für"' in plain


def test_each_line_says_whose_it_is_where_several_write() -> None:
    """The replicas of one supervisor share its standard error."""
    stream = log_to(worker_id="w-1")

    log_event("started", port=1)

    assert without_time(stream) == ["INFO started worker_id=w-1 port=1"]


def test_long_values_are_cut() -> None:
    """One huge error text does not fill the disk."""
    stream = log_to(line_format=LogFormat.JSON)

    log_event("failed", problem="x" * 100_000)

    assert json.loads(stream.getvalue())["problem"] == "x" * MAX_VALUE_CHARACTERS + "..."


def test_no_secret_of_a_url_is_logged() -> None:
    """In fields, other libraries' lines and tracebacks; nor the half of one that is cut."""
    url = "s3://user:hunter2@bucket/models?sig=hunter2"
    cut = "x" * (MAX_VALUE_CHARACTERS - 16) + f" {url}"
    for line_format in LogFormat:
        stream = log_to(line_format=line_format)

        log_event("failed", problem=f"base path {url}: refused", other=cut)
        logging.getLogger("fsspec").warning("retrying %s", url)
        try:
            raise OSError(f"{url} is away")
        except OSError as error:
            log_event("crashed", traceback_of=error)

        assert "hunter2" not in stream.getvalue()
        assert "base path s3://***@bucket/models?***" in stream.getvalue()


def test_a_traceback_stays_on_the_line_and_keeps_its_end() -> None:
    """The end says what was raised."""
    stream = log_to(line_format=LogFormat.JSON)

    try:
        raise ValueError("y" * 2 * MAX_TRACEBACK_CHARACTERS + " the end")
    except ValueError:
        LOGGER.exception("failed")

    (line,) = stream.getvalue().splitlines()
    assert len(json.loads(line)["traceback"]) == MAX_TRACEBACK_CHARACTERS
    assert json.loads(line)["traceback"].endswith("y the end")


def test_a_traceback_of_many_lines_is_one_line_of_text() -> None:
    """With the ends of its lines escaped: a line of the log is an event."""
    stream = log_to()

    try:
        raise ValueError("a bug\nof two lines")
    except ValueError as error:
        log_event("failed", traceback_of=error)

    (line,) = stream.getvalue().splitlines()
    trace = json.loads(line.partition(" traceback=")[2])
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("\nValueError: a bug\nof two lines")


def test_other_libraries_warnings_come_in_the_same_form() -> None:
    """Their everyday lines do not come at all."""
    stream = log_to(level=LogLevel.DEBUG)

    logging.getLogger("kafka.conn").info("connected to %s", "a")
    logging.getLogger("kafka.conn").warning("node %d is not ready", 5)

    assert without_time(stream) == [
        'WARNING library_message logger=kafka.conn message="node 5 is not ready"'
    ]


def test_other_libraries_can_be_silenced_for_a_while() -> None:
    """Our own events come all the same."""
    stream = log_to()

    with libraries_silenced():
        logging.getLogger("kafka").error("connection lost")
        log_event("topic_created")
    logging.getLogger("kafka").error("connection lost")

    assert without_time(stream) == [
        "INFO topic_created",
        'ERROR library_message logger=kafka message="connection lost"',
    ]


def test_less_severe_events_than_asked_for_are_not_written() -> None:
    """The level is the configuration's."""
    stream = log_to(level=LogLevel.WARNING)

    log_event("started")
    log_event("breaker_open", logging.ERROR)

    assert without_time(stream) == ["ERROR breaker_open"]


def test_a_repeated_event_is_written_a_few_times_and_then_counted() -> None:
    """The next window's first line says how many were not shown; other events are not held up."""
    clock = ManualClock()
    stream = log_to(clock)

    for attempt in range(BURST + 5):
        log_event("publish_retry", attempt=attempt)
    log_event("commit_waits")
    clock.seconds = WINDOW_SECONDS
    log_event("publish_retry")
    log_event("publish_retry")

    assert without_time(stream) == [
        *[f"INFO publish_retry attempt={attempt}" for attempt in range(BURST)],
        "INFO commit_waits",
        "INFO publish_retry not_shown=5",
        "INFO publish_retry",
    ]


def test_the_memory_of_events_is_bounded() -> None:
    """A library that logs something new each time does not grow it."""
    limit = RepeatLimit(ManualClock())

    for number in range(3 * RepeatLimit.MAX_EVENTS):
        limit.filter(LOGGER.makeRecord("lib", logging.INFO, "", 0, f"n {number}", (), None))

    assert len(limit._windows) <= RepeatLimit.MAX_EVENTS


def test_few_lines_of_one_library_template_are_written() -> None:
    """Whatever they are filled with; the next minute's first line says how many were not shown."""
    clock = ManualClock()
    stream = log_to(clock)

    for number in range(LIBRARY_BURST + 30):
        logging.getLogger("kafka.net").warning("connection %d failed", number)
    clock.seconds = LIBRARY_WINDOW_SECONDS
    logging.getLogger("kafka.net").warning("connection %d failed", 99)

    lines = stream.getvalue().splitlines()
    assert len(lines) == LIBRARY_BURST + 1
    assert lines[-1].endswith('message="connection 99 failed" not_shown=30')


def test_few_lines_of_all_libraries_together_are_written() -> None:
    """Also where each is another one, and whatever they push out; our own come all the same."""
    stream = log_to()

    for number in range(3 * RepeatLimit.MAX_EVENTS):
        logging.getLogger(f"lib{number}").warning(f"text {number}")
    log_event("broker_away")

    lines = without_time(stream)
    assert len(lines) == LIBRARIES_BURST + 1
    assert lines[-1] == "INFO broker_away"


def test_every_servable_version_and_signature_is_named_once() -> None:
    """Whether the core logs it or the worker does; the same again is held back."""
    stream = log_to()
    core = logging.getLogger("topicserve.servables.kinds.saved_model")
    subjects = [f"m{number}/{version}" for number in range(20) for version in (1, 2)]

    for _ in range(3):
        for subject in subjects:
            core.info("%s: signatures called for each record alone: %s", subject, "'a'")
    for number in range(20):
        log_event("records_kept_apart", servable="m", version=1, signature=f"s{number}")

    lines = stream.getvalue().splitlines()
    assert [line.split("message=")[1].split(":")[0].strip('"') for line in lines[:40]] == subjects
    assert [line.rsplit("=")[-1] for line in lines[40:]] == [f"s{number}" for number in range(20)]


def test_the_cores_lines_of_one_template_are_bounded_too() -> None:
    """However many different ones there are."""
    stream = log_to()

    for number in range(CORE_TEMPLATE_BURST + 10):
        logging.getLogger("topicserve.servables.x").warning("handle %d is open", number)

    assert len(stream.getvalue().splitlines()) == CORE_TEMPLATE_BURST


def test_librdkafkas_lines_that_differ_in_names_and_numbers_are_one_line() -> None:
    """Its instances, threads, hosts, ports and times; what is something else is told."""
    stream = log_to()
    library = logging.getLogger("topicserve.backends.confluent.librdkafka")

    for number in range(40):
        host = f"b{number}.example:{9000 + number}/{number}"
        broker = f"[thrd:{host}]: {host}"
        late = f"Connect to ipv6#[::{number}]:9092 timed out"
        name = f"rdkafka#producer-{number}"
        refused = f"Connect to ipv4#10.0.0.{number}:9092 failed (after {number}ms)"
        library.error("%s [%s] %s", "FAIL", name, f"{broker}: {refused}")
        library.error("%s [%s] %s", "FAIL", name, f"{broker}: {late}")
        library.error("%s [%s] %s", "TXNERR", name, f"Fatal transaction error, epoch {number}")

    lines = stream.getvalue().splitlines()
    assert [line.split("message=")[1][:16] for line in lines] == [
        '"FAIL [rdkafka#p',
        '"FAIL [rdkafka#p',
        '"TXNERR [rdkafka',
    ]
