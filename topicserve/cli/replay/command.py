"""Runs one replica of a replay, from the first question to the account."""

import argparse
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing

from prometheus_client import disable_created_metrics

from topicserve.backends.broker import OffsetsAdmin
from topicserve.backends.kafka_clients import open_broker
from topicserve.cli import connection
from topicserve.cli.errors import UsageError
from topicserve.cli.interpreter import check_interpreter
from topicserve.cli.replay.account import ReplayAccount
from topicserve.cli.replay.bounds import RangeFinder
from topicserve.cli.replay.compare import check_comparison, compare_with_live
from topicserve.cli.replay.comparison import Comparison
from topicserve.cli.replay.plan import Plan, plan_of
from topicserve.cli.replay.progress import ReplayScreen
from topicserve.cli.standard_streams import need_output, write_output
from topicserve.cli.terminal import counted, say, write_json, write_line
from topicserve.cli.worker.startup import TENSORFLOW_LOG_LEVEL, run_preflight
from topicserve.errors import TopicserveError
from topicserve.exit_codes import EXIT_BREAKER_OPEN, EXIT_FAILED, EXIT_INTERRUPTED
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.replay.progress import ReplayProgress, read_progress
from topicserve.worker.replay.progress_note import ForeignGroupError, OffsetRange, Ranges
from topicserve.worker.replay.watch import ReplayWatch
from topicserve.worker.runtime.heap import bound_heap
from topicserve.worker.runtime.preflight import StoppedError
from topicserve.worker.runtime.stop_signals import stop_signals
from topicserve.worker.telemetry.logging import configure_logging, libraries_silenced

CLOSE_SECONDS = 5.0
_TOO_MANY_DEAD_LETTERS = (
    "stopped: the share of dead letters exceeded delivery.max_dead_letter_share; correct the "
    "cause, or raise it with --set delivery.max_dead_letter_share=1"
)


def run(arguments: argparse.Namespace) -> int:
    """Replay until the range is done, or a signal comes; the account goes to standard output.

    The exit code is 0 where every record of the range has an outcome, 1 where it is not complete or
    something is missing, 130 after Ctrl-C, and the worker's own where the service ended with one.
    """
    check_interpreter()
    need_output()
    os.environ.setdefault(*TENSORFLOW_LOG_LEVEL)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    plan = plan_of(arguments)
    configure_logging(plan.config.logging)
    stop, ready = threading.Event(), threading.Event()
    with stop_signals(
        stop, is_starting=lambda: not ready.is_set(), start_exit_code=EXIT_INTERRUPTED
    ) as signals:
        try:
            run_preflight(plan.config, stop, creates_inputs=False)
        except StoppedError:
            return EXIT_INTERRUPTED
        with closing(_admin(plan.config)) as admin:
            if arguments.compare is not None:
                check_comparison(arguments, plan.live_topic, admin)
            replica = ReplayReplica(arguments, plan, admin)
            code = replica.run(stop, ready)
            progress = replica.progress()
            account = ReplayAccount(progress, replica.deleted_records)
            is_compared = account.is_complete and arguments.compare is not None

            def compare() -> Comparison:
                return compare_with_live(
                    arguments.compare, plan.live_topic, plan.config, progress.ranges, admin
                )

            show_account(
                account,
                plan.live_topic,
                compare if is_compared else None,
                as_json=arguments.json,
            )
    if code == EXIT_BREAKER_OPEN:
        say(_TOO_MANY_DEAD_LETTERS)
    if not account.is_complete:
        say("run the same command again to go on")
        if signal.SIGINT in signals:
            return EXIT_INTERRUPTED
    return code if code or account.is_good else EXIT_FAILED


class ReplayReplica:
    """This process' part of the replay.

    Its constructor asks the broker for the range, so that a wrong flag is told before a model
    loads.
    """

    def __init__(self, arguments: argparse.Namespace, plan: Plan, admin: OffsetsAdmin) -> None:
        self._plan = plan
        self._admin = admin
        self._group_id = plan.config.kafka.group_id
        self.deleted_records = 0
        """Of this process: deleted by retention while the replay ran, before they were read."""
        self._finder = self._range_finder(arguments)
        self._ranges = self._find_ranges()

    def progress(self) -> ReplayProgress:
        """Return how far the whole group is."""
        return read_progress(
            self._admin, self._group_id, self._plan.job, self._ranges, connection.REACH_SECONDS
        )

    def run(self, stop: threading.Event, ready: threading.Event) -> int:
        """Work until the group is done or `stop` is set; return the exit code."""
        before = self._own_progress()
        for warning in self._finder.warnings:
            say(warning)
        say(self._summary(before))
        if before.is_complete:
            say("this replay is complete; --group starts another one")
            return 0
        bound_heap()
        # What takes long to import comes after all else is known to be right.
        from topicserve.worker.replay.service import ReplayJob, ReplayService

        plan = self._plan
        job = ReplayJob(plan.job, self._ranges, plan.servable, plan.version, plan.is_wanted)
        worker_id = f"{self._group_id}-{socket.gethostname()}-{os.getpid()}"
        service = ReplayService(self._plan.config, worker_id, job)
        with ExitStack() as opened:
            screen = opened.enter_context(ReplayScreen(before))
            watch = ReplayWatch(
                opened.enter_context(closing(_admin(self._plan.config))),
                self._group_id,
                self._plan.job,
                self._ranges,
                stop,
                screen.show,
                lambda: service.stages is not None and service.stages.oversight.breaker.open,
            )
            opened.callback(watch.close, CLOSE_SECONDS)

            def on_ready(_: str) -> None:
                ready.set()
                watch.start()

            code = service.run(stop, on_ready)
        self.deleted_records = service.deleted_records
        return code

    def _range_finder(self, arguments: argparse.Namespace) -> RangeFinder:
        (topic,) = self._plan.config.topics.input
        count = self._admin.partitions(topic, connection.REACH_SECONDS) or 0
        partitions = [TopicPartition(topic, number) for number in range(count)]
        log = self._admin.log_offsets(partitions, connection.REACH_SECONDS)
        return RangeFinder(arguments.start, arguments.end, log)

    def _find_ranges(self) -> Ranges:
        """Return the ranges; those that the group has begun stay as they were then."""
        chosen = self._finder.partitions()
        begun = self._progress_of(dict.fromkeys(chosen, OffsetRange(0, 0))).notes
        found = self._finder.find(self._admin, [p for p in chosen if p not in begun])
        ranges = found | {partition: note.range for partition, note in begun.items()}
        if not begun:
            self._finder.check_any(ranges)
        return ranges

    def _own_progress(self) -> ReplayProgress:
        found = self._progress_of(self._ranges)
        for partition, offset in found.offsets.items():
            start = self._finder.log_start(partition)
            if offset < min(start, found.ranges[partition].end):
                raise UsageError(
                    f"partition {partition.partition}: offsets {offset} to {start - 1} were "
                    "deleted by retention before they were replayed"
                )
        return found

    def _progress_of(self, ranges: Ranges) -> ReplayProgress:
        try:
            return read_progress(
                self._admin, self._group_id, self._plan.job, ranges, connection.REACH_SECONDS
            )
        except ForeignGroupError as error:
            raise UsageError(f"--group: {self._group_id} {error}; name another one") from None

    def _summary(self, before: ReplayProgress) -> str:
        topics = self._plan.config.topics
        partitions = counted(len(before.ranges), "partition")
        return (
            f"replaying {counted(before.total_offsets, 'offset')} of {topics.input[0]} "
            f"({partitions}) to {topics.output}, by {self._plan.answers}, "
            f"group {self._group_id}"
        )


def _admin(config: WorkerConfig) -> OffsetsAdmin:
    kafka = config.kafka
    servers = {"bootstrap.servers": kafka.bootstrap_servers, **kafka.settings}
    with libraries_silenced():
        return open_broker(kafka.client.value, servers).admin()


def show_account(
    account: ReplayAccount,
    live_topic: str,
    compare: Callable[[], Comparison] | None,
    *,
    as_json: bool,
) -> None:
    """Print the account, with a comparison where there is one to be made.

    The account is printed also where the comparison raises, which is raised then.
    """
    failure = None
    if compare is not None:
        try:
            account.comparison = compare()
        except TopicserveError as error:
            failure = error
    if as_json:
        write_json(account.content(), flush=True)
    else:
        _print_lines(account.lines())
    if failure is not None:
        say("not compared; to compare, run the same command again with --force")
        raise failure
    if account.comparison is not None and not as_json:
        _print_lines(account.comparison.lines(live_topic))


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        write_line(line)
    write_output(b"", flush=True)
